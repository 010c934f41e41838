package poller_test

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/pollertest"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// linux is the kernel whose epoll these tests are of, whatever stands in its place for others.
var linux = sys.Host

// faulty is the machine's kernel, except for the calls that a test replaces.
type faulty struct {
	sys.Kernel
	epollCreate   func() (int, syscall.Errno)
	epollCtl      func(epfd, op, fd int, event unix.EpollEvent) syscall.Errno
	epollWait     func(epfd int, events []unix.EpollEvent) (int, syscall.Errno)
	newParker     func(epfd int, poll func() bool) (sys.Parker, error)
	eventfd       func() (int, syscall.Errno)
	eventfdSignal func(fd int) syscall.Errno
}

// working replaces nothing.
func working() *faulty {
	return &faulty{linux, linux.EpollCreate, linux.EpollCtl, linux.EpollWait, linux.NewParker, linux.Eventfd, linux.EventfdSignal}
}

func (k *faulty) EpollCreate() (int, syscall.Errno) { return k.epollCreate() }

func (k *faulty) EpollCtl(epfd, op, fd int, event unix.EpollEvent) syscall.Errno {
	return k.epollCtl(epfd, op, fd, event)
}

func (k *faulty) EpollWait(epfd int, events []unix.EpollEvent) (int, syscall.Errno) {
	return k.epollWait(epfd, events)
}

func (k *faulty) NewParker(epfd int, poll func() bool) (sys.Parker, error) {
	return k.newParker(epfd, poll)
}

func (k *faulty) Eventfd() (int, syscall.Errno) { return k.eventfd() }

func (k *faulty) EventfdSignal(fd int) syscall.Errno { return k.eventfdSignal(fd) }

// fail makes no descriptor.
func fail(errno syscall.Errno) func() (int, syscall.Errno) {
	return func() (int, syscall.Errno) { return -1, errno }
}

// faults.md P5. TestInterruptedEpollWait runs all conformance tests with every second epoll_wait(2) interrupted.
func TestInterruptedEpollWait(t *testing.T) {
	leak.Check(t)
	var calls atomic.Uint64
	kernel := working()
	kernel.epollWait = func(epfd int, events []unix.EpollEvent) (int, syscall.Errno) {
		if calls.Add(1)%2 == 1 {
			return 0, syscall.EINTR
		}
		return linux.EpollWait(epfd, events)
	}
	pollertest.TestPoller(t, pollertest.Backend{Open: func() (poller.Poller, error) { return poller.New(kernel) }})
}

// faults.md P9. TestSaturatedEventfd runs all conformance tests with event counters that are at their maximum from the start, so that
// every write(2) to them is EAGAIN (eventfd(2)).
func TestSaturatedEventfd(t *testing.T) {
	leak.Check(t)
	var refused atomic.Uint64
	kernel := working()
	kernel.eventfd = func() (int, syscall.Errno) {
		fd, errno := linux.Eventfd()
		if errno == 0 {
			saturate(t, fd)
		}
		return fd, errno
	}
	kernel.eventfdSignal = func(fd int) syscall.Errno {
		errno := linux.EventfdSignal(fd)
		if errno == syscall.EAGAIN {
			refused.Add(1)
		}
		return errno
	}
	open := func() (poller.Poller, error) {
		p, err := poller.New(kernel)
		if err != nil {
			return nil, err
		}
		// The full counter is one edge, as a Wake would be.
		if _, err := p.Wait(make([]poller.Event, 1), 0); err != nil {
			return nil, err
		}
		return p, nil
	}
	p, err := open()
	require.NoError(t, err)
	require.NoError(t, p.Wake())
	require.EqualValues(t, 1, refused.Load())
	require.NoError(t, p.Close())

	pollertest.TestPoller(t, pollertest.Backend{Open: open})
}

// saturate brings an event counter to its maximum, 2^64 - 2.
func saturate(t testing.TB, fd int) {
	_, err := unix.Write(fd, binary.NativeEndian.AppendUint64(nil, math.MaxUint64-1))
	require.NoError(t, err)
}

func TestNewFails(t *testing.T) {
	for name, test := range map[string]struct {
		breakIt func(*faulty)
		call    string
		errno   syscall.Errno
	}{
		"epoll_create": {func(k *faulty) { k.epollCreate = fail(syscall.EMFILE) }, "epoll_create1", syscall.EMFILE},
		"eventfd":      {func(k *faulty) { k.eventfd = fail(syscall.ENFILE) }, "eventfd2", syscall.ENFILE},
		"epoll_ctl": {func(k *faulty) {
			k.epollCtl = func(int, int, int, unix.EpollEvent) syscall.Errno { return syscall.ENOSPC }
		}, "epoll_ctl", syscall.ENOSPC},
		"parker": {func(k *faulty) {
			k.newParker = func(epfd int, _ func() bool) (sys.Parker, error) {
				if errno := linux.Close(epfd); errno != 0 {
					return nil, errno
				}
				return nil, os.NewSyscallError("fcntl", syscall.EPERM)
			}
		}, "fcntl", syscall.EPERM},
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			kernel := working()
			test.breakIt(kernel)
			p, err := poller.New(kernel)
			require.Nil(t, p)
			var call *os.SyscallError
			require.ErrorAs(t, err, &call)
			require.Equal(t, test.call, call.Syscall)
			require.ErrorIs(t, err, test.errno)
		})
	}
}

// TestNewParkerClosesWhatItRefuses: Go's poller takes no regular file (epoll_ctl(2), EPERM).
func TestNewParkerClosesWhatItRefuses(t *testing.T) {
	leak.Check(t)
	_, err := linux.NewParker(-1, func() bool { return true })
	require.ErrorIs(t, err, syscall.EBADF)

	fd, err := unix.MemfdCreate("regular", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	_, err = linux.NewParker(fd, func() bool { return true })
	require.ErrorIs(t, err, os.ErrNoDeadline)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	require.ErrorIs(t, err, syscall.EBADF, "it has been closed")
}

func TestAddFails(t *testing.T) {
	leak.Check(t)
	kernel := working()
	p, err := poller.New(kernel)
	require.NoError(t, err)
	defer p.Close()
	socket := newSocket(t)

	kernel.epollCtl = func(int, int, int, unix.EpollEvent) syscall.Errno { return syscall.ENOSPC }
	err = p.Add(socket, 1, poller.Readable)
	require.ErrorIs(t, err, syscall.ENOSPC) // epoll_ctl(2): fs.epoll.max_user_watches
	require.EqualError(t, err, "epoll_ctl: no space left on device")

	kernel.epollCtl = linux.EpollCtl
	require.NoError(t, p.Add(socket, 1, poller.Writable), "the failed Add has left nothing behind")
	events := make([]poller.Event, 1)
	n, err := p.Wait(events, -1)
	require.NoError(t, err)
	require.Equal(t, []poller.Event{{Token: 1, Readiness: poller.Writable}}, events[:n])
}

func TestWaitFails(t *testing.T) {
	leak.Check(t)
	kernel := working()
	p, err := poller.New(kernel)
	require.NoError(t, err)
	defer p.Close()
	events := make([]poller.Event, 1)
	for _, timeout := range []time.Duration{0, 1, time.Hour, -1} {
		kernel.epollWait = func(int, []unix.EpollEvent) (int, syscall.Errno) { return 0, syscall.EFAULT }
		n, err := p.Wait(events, timeout)
		require.Zero(t, n)
		require.EqualError(t, err, "epoll_wait: bad address")

		kernel.epollWait = linux.EpollWait
		require.NoError(t, p.Wake())
		_, err = p.Wait(events, -1)
		require.NoError(t, err, "the error was of that Wait only")
	}
}

func TestWakeFails(t *testing.T) {
	leak.Check(t)
	kernel := working()
	p, err := poller.New(kernel)
	require.NoError(t, err)
	defer p.Close()

	kernel.eventfdSignal = func(int) syscall.Errno { return syscall.EIO }
	for range 2 {
		require.EqualError(t, p.Wake(), "write: input/output error")
	}
	kernel.eventfdSignal = linux.EventfdSignal
	require.NoError(t, p.Wake(), "the failed Wake has not left the flag of the coalescing set")
	_, err = p.Wait(make([]poller.Event, 1), -1)
	require.NoError(t, err)
}

func TestWakesCoalesce(t *testing.T) {
	leak.Check(t)
	kernel := working()
	var signals int
	kernel.eventfdSignal = func(fd int) syscall.Errno {
		signals++
		return linux.EventfdSignal(fd)
	}
	p, err := poller.New(kernel)
	require.NoError(t, err)
	defer p.Close()
	for round := range 3 {
		for range 1000 {
			require.NoError(t, p.Wake())
		}
		require.Equal(t, round+1, signals, "one system call between two Waits")
		_, err = p.Wait(make([]poller.Event, 1), -1)
		require.NoError(t, err)
	}
}

func TestCloseFails(t *testing.T) {
	leak.Check(t)
	kernel := working()
	kernel.newParker = func(epfd int, poll func() bool) (sys.Parker, error) {
		parker, err := linux.NewParker(epfd, poll)
		return failingClose{parker}, err
	}
	p, err := poller.New(kernel)
	require.NoError(t, err)
	require.ErrorIs(t, p.Close(), errClose)
	require.Equal(t, poller.ErrClosed, p.Close())
}

var errClose = errors.New("close failed")

// failingClose closes, and says that it did not.
type failingClose struct{ sys.Parker }

func (p failingClose) Close() error {
	_ = p.Parker.Close()
	return errClose
}
