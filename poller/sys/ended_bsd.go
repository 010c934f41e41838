//go:build (darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm

package sys

import "syscall"

// Ended asks a kqueue that is made for it: EVFILT_READ tells of the end behind unread data, and of the error, and takes neither away
// (kqueue(2), EV_EOF).
func (h *host) Ended(fd int) (ended, failed bool, errno syscall.Errno) {
	kq, errno := h.Kqueue()
	if errno != 0 {
		return false, false, errno
	}
	defer h.Close(kq)
	asked := [...]Kevent{{Ident: uint64(fd), Filter: EVFILT_READ, Flags: EV_ADD}}
	var told [1]Kevent
	n, errno := h.Kevent(kq, asked[:], told[:], 0)
	for errno == syscall.EINTR { // the change has been made (kqueue(2), EINTR)
		n, errno = h.Kevent(kq, nil, told[:], 0)
	}
	switch {
	case errno != 0 || n == 0:
		return false, false, errno
	case told[0].Flags&EV_ERROR != 0:
		return false, false, syscall.Errno(told[0].Data)
	}
	ended = told[0].Flags&EV_EOF != 0
	return ended, ended && told[0].Fflags != 0, 0
}
