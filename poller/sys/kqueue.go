//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import (
	"syscall"
	"time"
)

// Kqueue is what package poller asks of a kernel that has kqueue(2). On macOS and the BSDs it is a part of [Kernel]; on Linux only a
// kernel for tests has it. The names of constants are those of the manual pages.
type Kqueue interface {
	// Kqueue makes a close-on-exec kqueue (kqueue(2)).
	Kqueue() (int, syscall.Errno)
	// Kevent makes the changes, one after the other, and then waits until there is something to tell, for at most timeout
	// (kevent(2)): for ever if that is negative, not at all if it is 0. It tells the scheduler. Without room for events it waits for
	// nothing, and fails with the error of the first change that cannot be made; those before it are made, those after it are not.
	Kevent(kq int, changes, events []Kevent, timeout time.Duration) (int, syscall.Errno)

	// WakePipe makes a non-blocking, close-on-exec pipe (pipe(2)), PutByte puts one byte into it, and TakeBytes takes out all that
	// there are.
	WakePipe() (r, w int, errno syscall.Errno)
	PutByte(w int) syscall.Errno
	TakeBytes(r int) syscall.Errno

	// Close is that of [Kernel].
	Close(fd int) syscall.Errno
}
