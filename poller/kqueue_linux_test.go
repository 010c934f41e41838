package poller_test

import (
	"math"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/pollertest"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
	"github.com/strand-net/strand/poller/sys/systest/bsdtest"
)

// kqueues are the systems that have kqueue(2), as far as a Poller can tell them apart.
var kqueues = map[string]struct {
	kernel   func(*bsdtest.Kernel)
	open     func(sys.Kqueue) (poller.Poller, error)
	noUrgent string
}{
	"macOS":   {func(*bsdtest.Kernel) {}, poller.NewKqueue, ""},
	"FreeBSD": {func(k *bsdtest.Kernel) { k.NoExcept = true }, poller.NewKqueue, "EVFILT_EXCEPT is not there"},
	"NetBSD":  {func(k *bsdtest.Kernel) { k.NoUser, k.NoExcept = true, true }, poller.NewKqueuePipe, "EVFILT_EXCEPT is not there"},
	"OpenBSD": {func(k *bsdtest.Kernel) { k.NoUser, k.OneWay = true, true }, poller.NewKqueuePipe, ""},
}

// onEachKqueue runs test for each system.
func onEachKqueue(t *testing.T, test func(t *testing.T, kernel *faultyKqueue, open func() (poller.Poller, error), noUrgent string)) {
	for name, system := range kqueues {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			kernel := bsdtest.New()
			system.kernel(kernel)
			faulty := &faultyKqueue{Kernel: kernel, fail: func(string, []sys.Kevent) syscall.Errno { return 0 }}
			test(t, faulty, func() (poller.Poller, error) { return system.open(faulty) }, system.noUrgent)
		})
	}
}

// faultyKqueue is the kernel of a test, except for the calls that fail: for which fail returns an error.
type faultyKqueue struct {
	*bsdtest.Kernel
	fail func(call string, changes []sys.Kevent) syscall.Errno
}

func (k *faultyKqueue) Kqueue() (int, syscall.Errno) {
	if errno := k.fail("kqueue", nil); errno != 0 {
		return -1, errno
	}
	return k.Kernel.Kqueue()
}

func (k *faultyKqueue) Kevent(kq int, changes, events []sys.Kevent, timeout time.Duration) (int, syscall.Errno) {
	if errno := k.fail("kevent", changes); errno != 0 {
		return 0, errno
	}
	return k.Kernel.Kevent(kq, changes, events, timeout)
}

func (k *faultyKqueue) WakePipe() (r, w int, errno syscall.Errno) {
	if errno := k.fail("pipe", nil); errno != 0 {
		return -1, -1, errno
	}
	return k.Kernel.WakePipe()
}

func (k *faultyKqueue) PutByte(w int) syscall.Errno {
	if errno := k.fail("write", nil); errno != 0 {
		return errno
	}
	return k.Kernel.PutByte(w)
}

// The contract holds for every system with kqueue(2), also if every second call is interrupted.
func TestKqueue(t *testing.T) {
	onEachKqueue(t, func(t *testing.T, kernel *faultyKqueue, open func() (poller.Poller, error), noUrgent string) {
		var calls atomic.Uint64
		kernel.fail = func(call string, _ []sys.Kevent) syscall.Errno {
			if call == "kevent" && calls.Add(1)%2 == 1 {
				return syscall.EINTR
			}
			return 0
		}
		pollertest.TestPoller(t, pollertest.Backend{Open: open, NoUrgent: noUrgent})
		require.Greater(t, calls.Load(), uint64(1000))
	})
}

// A Poller that cannot be made leaves nothing, and says which call has failed.
func TestNewKqueueFails(t *testing.T) {
	onEachKqueue(t, func(t *testing.T, kernel *faultyKqueue, open func() (poller.Poller, error), _ string) {
		for _, call := range []string{"kqueue", "kevent", "pipe"} {
			failed := false
			kernel.fail = func(made string, _ []sys.Kevent) syscall.Errno {
				if made != call {
					return 0
				}
				failed = true
				return syscall.EMFILE
			}
			p, err := open()
			if !failed {
				require.Equal(t, "pipe", call, "the others are made by all")
				require.NoError(t, err)
				require.NoError(t, p.Close())
				continue
			}
			require.Nil(t, p)
			require.EqualError(t, err, call+": too many open files")
		}
	})
}

// An Add that fails leaves nothing behind: neither a filter nor that the descriptor is registered.
func TestKqueueAddFails(t *testing.T) {
	onEachKqueue(t, func(t *testing.T, kernel *faultyKqueue, open func() (poller.Poller, error), _ string) {
		p, err := open()
		require.NoError(t, err)
		defer p.Close()
		socket, peer := newSocketPair(t)
		for _, filter := range []int{sys.EVFILT_READ, sys.EVFILT_WRITE} {
			kernel.fail = func(_ string, changes []sys.Kevent) syscall.Errno {
				for _, change := range changes {
					if change.Flags&sys.EV_ADD != 0 && int(change.Filter) == filter {
						return syscall.ENOMEM
					}
				}
				return 0
			}
			require.EqualError(t, p.Add(socket, 1, poller.Readable|poller.Writable), "kevent: cannot allocate memory")
			require.ErrorIs(t, p.Remove(socket), syscall.ENOENT)
		}
		_, err = unix.Write(peer, []byte("x"))
		require.NoError(t, err)
		events := make([]poller.Event, 4)
		n, err := p.Wait(events, 0)
		require.NoError(t, err)
		require.Zero(t, n)
		kernel.fail = func(string, []sys.Kevent) syscall.Errno { return 0 }
		require.NoError(t, p.Add(socket, 1, poller.Writable))
		n, err = p.Wait(events, -1)
		require.NoError(t, err)
		require.Equal(t, []poller.Event{{Token: 1, Readiness: poller.Writable}}, events[:n])
	})
}

// A Wait or a Wake that fails says so, and the next does not.
func TestKqueueWaitAndWakeFail(t *testing.T) {
	onEachKqueue(t, func(t *testing.T, kernel *faultyKqueue, open func() (poller.Poller, error), _ string) {
		p, err := open()
		require.NoError(t, err)
		defer p.Close()
		events := make([]poller.Event, 1)
		works := kernel.fail
		for _, timeout := range []time.Duration{0, 1, time.Hour, -1} {
			kernel.fail = func(string, []sys.Kevent) syscall.Errno { return syscall.EFAULT }
			n, err := p.Wait(events, timeout)
			require.Zero(t, n)
			require.EqualError(t, err, "kevent: bad address")
			for range 2 {
				require.ErrorIs(t, p.Wake(), syscall.EFAULT, "the failed Wake has not left the flag of the coalescing set")
			}
			kernel.fail = works
			require.NoError(t, p.Wake())
			_, err = p.Wait(events, -1)
			require.NoError(t, err)
		}
	})
}

// Between two Waits, a thousand Wakes are one system call; and where a pipe is full, it is made to have room.
func TestKqueueWakes(t *testing.T) {
	onEachKqueue(t, func(t *testing.T, kernel *faultyKqueue, open func() (poller.Poller, error), _ string) {
		p, err := open()
		require.NoError(t, err)
		defer p.Close()
		signals := 0
		full := false
		kernel.fail = func(call string, changes []sys.Kevent) syscall.Errno {
			if call == "write" || len(changes) > 0 {
				signals++
				if full && call == "write" && signals%2 == 1 {
					return syscall.EAGAIN
				}
			}
			return 0
		}
		for range 3 {
			signals = 0
			for range 1000 {
				require.NoError(t, p.Wake())
			}
			require.Equal(t, 1, signals)
			_, err = p.Wait(make([]poller.Event, 1), -1)
			require.NoError(t, err)
		}
		full, signals = true, 0
		require.NoError(t, p.Wake())
		require.Positive(t, signals)
		_, err = p.Wait(make([]poller.Event, 1), -1)
		require.NoError(t, err)
	})
}

// No kevent(2) waits longer than macOS lets it, however long Wait may.
func TestKqueueLongestWait(t *testing.T) {
	onEachKqueue(t, func(t *testing.T, kernel *faultyKqueue, open func() (poller.Poller, error), _ string) {
		_, errno := kernel.Kernel.Kevent(-1, nil, nil, 0)
		require.Equal(t, syscall.EBADF, errno)
		kq, errno := kernel.Kernel.Kqueue()
		require.Zero(t, errno)
		_, errno = kernel.Kernel.Kevent(kq, nil, make([]sys.Kevent, 1), math.MaxInt64)
		require.Equal(t, syscall.EINVAL, errno, "this kernel is as strict")
		require.Zero(t, kernel.Kernel.Close(kq))
		p, err := open()
		require.NoError(t, err)
		defer p.Close()
		require.NoError(t, p.Wake())
		_, err = p.Wait(make([]poller.Event, 1), math.MaxInt64)
		require.NoError(t, err)
	})
}

// A descriptor that was closed without Remove, and whose number is another's, is not registered any more: Modify says so, as
// epoll(7) would.
func TestKqueueClosedWithoutRemove(t *testing.T) {
	onEachKqueue(t, func(t *testing.T, kernel *faultyKqueue, open func() (poller.Poller, error), _ string) {
		p, err := open()
		require.NoError(t, err)
		defer p.Close()
		socket := newSocket(t)
		fd, err := unix.FcntlInt(uintptr(socket), unix.F_DUPFD_CLOEXEC, 0)
		require.NoError(t, err)
		require.NoError(t, p.Add(fd, 1, poller.Writable))
		require.Zero(t, kernel.Close(fd))
		require.ErrorIs(t, p.Modify(fd, 2, poller.Writable), syscall.EBADF)
		again, err := unix.FcntlInt(uintptr(socket), unix.F_DUPFD_CLOEXEC, fd)
		require.NoError(t, err)
		require.Equal(t, fd, again)
		defer unix.Close(again)
		require.ErrorIs(t, p.Remove(again), syscall.ENOENT)
		require.NoError(t, p.Add(again, 3, poller.Writable))
		events := make([]poller.Event, 4)
		n, err := p.Wait(events, -1)
		require.NoError(t, err)
		require.Equal(t, []poller.Event{{Token: 3, Readiness: poller.Writable}}, events[:n])
	})
}

// A socket whose own direction alone has ended is not closed (kqueue(2) reports EV_EOF for it); when the peer's ends too, it is.
func TestKqueueHalves(t *testing.T) {
	onEachKqueue(t, func(t *testing.T, kernel *faultyKqueue, open func() (poller.Poller, error), _ string) {
		p, err := open()
		require.NoError(t, err)
		defer p.Close()
		socket, peer := newSocketPair(t)
		require.NoError(t, unix.Shutdown(socket, unix.SHUT_WR))
		require.NoError(t, p.Add(socket, 1, poller.Readable|poller.Writable))
		events := make([]poller.Event, 4)
		n, err := p.Wait(events, -1)
		require.NoError(t, err)
		require.Equal(t, []poller.Event{{Token: 1, Readiness: poller.Writable}}, events[:n], "a write fails at once")
		require.NoError(t, unix.Shutdown(peer, unix.SHUT_WR))
		var said poller.Readiness
		for said&poller.Closed == 0 {
			n, err := p.Wait(events, 10*time.Second)
			require.NoError(t, err)
			require.Positive(t, n)
			for _, event := range events[:n] {
				said |= event.Readiness
			}
		}
		require.Equal(t, poller.Readable|poller.Writable|poller.ReadClosed|poller.Closed, said&^poller.Urgent)
	})
}
