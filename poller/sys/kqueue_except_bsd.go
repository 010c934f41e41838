//go:build darwin || dragonfly || (openbsd && !386 && !arm)

package sys

import "golang.org/x/sys/unix"

// The arrival of out-of-band data (kevent(2), EVFILT_EXCEPT).
const (
	EVFILT_EXCEPT = unix.EVFILT_EXCEPT
	NOTE_OOB      = unix.NOTE_OOB
)
