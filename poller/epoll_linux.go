package poller

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller/sys"
	"golang.org/x/sys/unix"
)

// open returns a Poller on epoll(7).
func open(kernel sys.Kernel) (Poller, error) { return newEpoll(kernel) }

type epoll struct {
	kernel sys.Kernel
	epfd   int
	parker sys.Parker

	// pending is set by the Wake that signals and cleared by the Wait that has seen the signal: all others between
	// the two have nothing to do.
	pending atomic.Bool

	mu     sync.RWMutex // held while epfd or wakefd is used by anything but Wait, so that Close can close them
	wakefd int
	closed atomic.Bool // written with mu held

	// Only the goroutine in Wait uses what follows.
	ready []unix.EpollEvent
	n     int           // events in ready
	errno syscall.Errno // why fetch failed
}

// wakeEvent registers the event counter. It is edge-triggered, so the counter is never read: each write to it is a new
// edge, also when it was not 0.
var wakeEvent = epollEvent(unix.EPOLLIN, Reserved)

// epollEvent puts the token into the data of an epoll_event (epoll_ctl(2)), which unix.EpollEvent has as two halves.
func epollEvent(events uint32, token Token) unix.EpollEvent {
	return unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(token), Pad: int32(token >> 32)}
}

func newEpoll(kernel sys.Kernel) (*epoll, error) {
	epfd, errno := kernel.EpollCreate()
	if errno != 0 {
		return nil, os.NewSyscallError("epoll_create1", errno)
	}
	wakefd, errno := kernel.Eventfd()
	if errno != 0 {
		kernel.Close(epfd)
		return nil, os.NewSyscallError("eventfd2", errno)
	}
	e := &epoll{kernel: kernel, epfd: epfd, wakefd: wakefd}
	if errno := kernel.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wakefd, wakeEvent); errno != 0 {
		kernel.Close(wakefd)
		kernel.Close(epfd)
		return nil, os.NewSyscallError("epoll_ctl", errno)
	}
	parker, err := kernel.NewParker(epfd, e.fetch)
	if err != nil {
		kernel.Close(wakefd)
		return nil, err
	}
	e.parker = parker
	return e, nil
}

func (e *epoll) Add(fd int, token Token, interest Interest) error {
	return e.register(unix.EPOLL_CTL_ADD, fd, token, interest)
}

func (e *epoll) Modify(fd int, token Token, interest Interest) error {
	return e.register(unix.EPOLL_CTL_MOD, fd, token, interest)
}

func (e *epoll) register(op, fd int, token Token, interest Interest) error {
	var events uint32 // EPOLLERR and EPOLLHUP are always reported
	if interest&Readable != 0 {
		events |= unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLPRI
	}
	if interest&Writable != 0 {
		events |= unix.EPOLLOUT
	}
	return e.control(op, fd, token, events)
}

func (e *epoll) Remove(fd int) error { return e.control(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (e *epoll) control(op, fd int, token Token, events uint32) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed.Load() {
		return ErrClosed
	}
	if errno := e.kernel.EpollCtl(e.epfd, op, fd, epollEvent(events, token)); errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

func (e *epoll) Wait(events []Event, timeout time.Duration) (int, error) {
	if len(events) == 0 {
		if e.closed.Load() {
			return 0, ErrClosed
		}
		return 0, os.NewSyscallError("epoll_wait", syscall.EINVAL)
	}
	if cap(e.ready) < len(events) {
		e.ready = make([]unix.EpollEvent, len(events))
	}
	e.ready = e.ready[:len(events)]
	e.n, e.errno = 0, 0
	var err error
	if timeout >= 0 {
		// Also before Park, which need not look if the time is over before it can, and need not arm a timer if there
		// is something already.
		err = e.look()
	}
	if timeout != 0 && err == nil && e.n == 0 && e.errno == 0 {
		err = e.parker.Park(timeout)
	}
	if errors.Is(err, os.ErrClosed) {
		return 0, ErrClosed
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, err
	}
	if e.errno != 0 {
		return 0, os.NewSyscallError("epoll_wait", e.errno)
	}
	return e.translate(events), nil
}

// look is fetch outside of Park, which keeps epfd open by itself.
func (e *epoll) look() error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed.Load() {
		return ErrClosed
	}
	e.fetch()
	return nil
}

// fetch asks the kernel once, and reports whether there is anything for Wait to return.
func (e *epoll) fetch() bool {
	for {
		e.n, e.errno = e.kernel.EpollWait(e.epfd, e.ready)
		if e.errno != syscall.EINTR {
			return e.n > 0 || e.errno != 0
		}
	}
}

func (e *epoll) translate(events []Event) int {
	n := 0
	for i := range e.ready[:e.n] {
		raw := &e.ready[i]
		token := Token(uint32(raw.Fd)) | Token(uint32(raw.Pad))<<32
		if token == Reserved {
			e.pending.Store(false)
			continue
		}
		events[n] = Event{token, readiness(raw.Events)}
		n++
	}
	return n
}

func readiness(events uint32) Readiness {
	var r Readiness
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r |= Readable
	}
	if events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r |= Writable
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0 {
		r |= ReadClosed
	}
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r |= Closed
	}
	if events&unix.EPOLLPRI != 0 {
		r |= Urgent
	}
	return r
}

func (e *epoll) Wake() error {
	if !e.pending.CompareAndSwap(false, true) {
		if e.closed.Load() { // then no Wait will clear pending any more
			return ErrClosed
		}
		return nil
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed.Load() {
		return ErrClosed
	}
	call, errno := "write", e.kernel.EventfdSignal(e.wakefd)
	if errno == syscall.EAGAIN {
		// The counter, which nobody reads, is at its maximum. A write that fails is no edge; to modify the registration
		// reports anew that the counter is not 0.
		call, errno = "epoll_ctl", e.kernel.EpollCtl(e.epfd, unix.EPOLL_CTL_MOD, e.wakefd, wakeEvent)
	}
	if errno != 0 {
		e.pending.Store(false)
		return os.NewSyscallError(call, errno)
	}
	return nil
}

func (e *epoll) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Load() {
		return ErrClosed
	}
	e.closed.Store(true)
	err := e.parker.Close()
	e.kernel.Close(e.wakefd)
	return err
}
