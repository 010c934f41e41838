//go:build (darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm

package sys

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readiness is the part of [Kernel] that package poller uses on macOS and the BSDs.
type readiness interface{ Kqueue }

const (
	EVFILT_READ  = unix.EVFILT_READ
	EVFILT_WRITE = unix.EVFILT_WRITE

	EV_ADD    = unix.EV_ADD
	EV_DELETE = unix.EV_DELETE
	EV_CLEAR  = unix.EV_CLEAR
	EV_ERROR  = unix.EV_ERROR
	EV_EOF    = unix.EV_EOF
)

// Kevent is laid out as unix.Kevent_t, or this does not compile.
var _ = [1]struct{}{}[unsafe.Sizeof(Kevent{})-unsafe.Sizeof(unix.Kevent_t{})+
	unsafe.Offsetof(Kevent{}.Filter)-unsafe.Offsetof(unix.Kevent_t{}.Filter)+
	unsafe.Offsetof(Kevent{}.Flags)-unsafe.Offsetof(unix.Kevent_t{}.Flags)+
	unsafe.Offsetof(Kevent{}.Fflags)-unsafe.Offsetof(unix.Kevent_t{}.Fflags)+
	unsafe.Offsetof(Kevent{}.Data)-unsafe.Offsetof(unix.Kevent_t{}.Data)+
	unsafe.Offsetof(Kevent{}.Udata)-unsafe.Offsetof(unix.Kevent_t{}.Udata)]

func (*host) Kqueue() (int, syscall.Errno) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Kqueue()
	if err != nil {
		return -1, errnoOf(err)
	}
	unix.CloseOnExec(fd)
	return fd, 0
}

func (*host) Kevent(kq int, changes, events []Kevent, timeout time.Duration) (int, syscall.Errno) {
	var limit *unix.Timespec
	if timeout >= 0 {
		at := unix.NsecToTimespec(int64(timeout))
		limit = &at
	}
	n, err := unix.Kevent(kq, native(changes), native(events), limit)
	if err != nil {
		return 0, errnoOf(err)
	}
	return n, 0
}

func native(events []Kevent) []unix.Kevent_t {
	return unsafe.Slice((*unix.Kevent_t)(unsafe.Pointer(unsafe.SliceData(events))), len(events))
}

func (*host) WakePipe() (r, w int, errno syscall.Errno) {
	var ends [2]int
	syscall.ForkLock.RLock()
	err := unix.Pipe(ends[:])
	if err == nil {
		unix.CloseOnExec(ends[0])
		unix.CloseOnExec(ends[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, -1, errnoOf(err)
	}
	for _, end := range ends {
		if err := unix.SetNonblock(end, true); err != nil {
			unix.Close(ends[0])
			unix.Close(ends[1])
			return -1, -1, errnoOf(err)
		}
	}
	return ends[0], ends[1], 0
}

func (*host) PutByte(w int) syscall.Errno {
	_, err := unix.Write(w, []byte{0})
	return errnoOf(err)
}

func (*host) TakeBytes(r int) syscall.Errno {
	var bytes [64]byte
	for {
		n, err := unix.Read(r, bytes[:])
		switch {
		case err == unix.EAGAIN || err == nil && n < len(bytes):
			return 0
		case err != nil && err != unix.EINTR:
			return errnoOf(err)
		}
	}
}
