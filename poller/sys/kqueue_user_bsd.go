//go:build darwin || dragonfly || (freebsd && !386 && !arm)

package sys

import "golang.org/x/sys/unix"

// Events that a program triggers itself (kevent(2), EVFILT_USER).
const (
	EVFILT_USER  = unix.EVFILT_USER
	NOTE_TRIGGER = unix.NOTE_TRIGGER
)
