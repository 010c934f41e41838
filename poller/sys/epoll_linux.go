package sys

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readiness is the part of [Kernel] that package poller uses on Linux.
type readiness interface {
	// EpollCreate makes a close-on-exec epoll instance (epoll_create1(2)).
	EpollCreate() (int, syscall.Errno)
	// EpollCtl is epoll_ctl(2).
	EpollCtl(epfd, op, fd int, event unix.EpollEvent) syscall.Errno
	// EpollWait returns what is ready now; it does not wait (epoll_wait(2) with a timeout of 0).
	EpollWait(epfd int, events []unix.EpollEvent) (int, syscall.Errno)
	// NewParker takes over an epoll descriptor, so that a goroutine can wait until poll, asked each time that the
	// descriptor becomes ready, has returned true. If it fails, it has closed the descriptor.
	NewParker(epfd int, poll func() bool) (Parker, error)
	// Eventfd makes a non-blocking, close-on-exec event counter (eventfd(2)).
	Eventfd() (int, syscall.Errno)
	// EventfdSignal adds one to the counter.
	EventfdSignal(fd int) syscall.Errno
}

// Parker lets a goroutine wait until an epoll instance has something to report, without holding a thread.
type Parker interface {
	// Park returns when poll has returned true: it calls poll at once, and again each time that the instance
	// becomes ready. It gives up after timeout (negative: never) with os.ErrDeadlineExceeded, perhaps before it has
	// called poll if the timeout is that short, and when the Parker is closed with os.ErrClosed. One goroutine at
	// a time may park.
	Park(timeout time.Duration) error
	// Close closes the epoll instance and ends a Park in progress.
	Close() error
}

func (*host) EpollCreate() (int, syscall.Errno) {
	fd, _, errno := syscall.RawSyscall(unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC, 0, 0)
	return int(fd), errno
}

func (*host) EpollCtl(epfd, op, fd int, event unix.EpollEvent) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&event)), 0, 0)
	return errno
}

func (*host) EpollWait(epfd int, events []unix.EpollEvent) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(unsafe.SliceData(events))),
		uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (*host) Eventfd() (int, syscall.Errno) {
	fd, _, errno := syscall.RawSyscall(unix.SYS_EVENTFD2, 0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC, 0)
	return int(fd), errno
}

func (*host) EventfdSignal(fd int) syscall.Errno {
	one := uint64(1)
	_, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8)
	return errno
}

// An epoll descriptor is itself pollable (epoll(7), question 4), so Go's own network poller can watch it and run the
// goroutine when it becomes ready: docs/adr/0004 has the figures against a thread that blocks in epoll_wait.
type epollParker struct {
	file  *os.File
	raw   syscall.RawConn
	ready func(uintptr) bool
	timed bool // a deadline is set on file

	closed atomic.Bool // Close has begun: what fails from now on fails for that reason
}

func (*host) NewParker(epfd int, poll func() bool) (Parker, error) {
	// os.NewFile registers with the runtime's poller only what is in non-blocking mode. The flag means nothing else to
	// an epoll descriptor.
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(epfd), "epoll")
	// A file that the runtime's poller does not take has no deadlines. Park would then spin.
	if err := file.SetDeadline(time.Time{}); err != nil {
		file.Close()
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &epollParker{file: file, raw: raw, ready: func(uintptr) bool { return poll() }}, nil
}

func (p *epollParker) Park(timeout time.Duration) error {
	if timeout >= 0 {
		p.timed = true
		if err := p.file.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return p.reason(err)
		}
	} else if p.timed {
		p.timed = false
		if err := p.file.SetReadDeadline(time.Time{}); err != nil {
			return p.reason(err)
		}
	}
	return p.reason(p.raw.Read(p.ready))
}

// reason names a closed file: SetReadDeadline and RawConn.Read of an os.File let out the unexported error that
// package os has for it, which is not os.ErrClosed.
func (p *epollParker) reason(err error) error {
	if err != nil && p.closed.Load() {
		return os.ErrClosed
	}
	return err
}

func (p *epollParker) Close() error {
	p.closed.Store(true)
	return p.file.Close()
}
