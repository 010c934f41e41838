//go:build (darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm

package sys

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sendfile may have sent something although it fails (sendfile(2), EAGAIN and EINTR), and then has not failed. The call moves no
// offset and takes none to be the file's own, so both are done here. NetBSD and OpenBSD have no such call (ENOSYS).
func (*host) Sendfile(socket, file int, from *int64, n int) (int, syscall.Errno) {
	var own int64
	offset := from
	if from == nil {
		at, err := unix.Seek(file, 0, io.SeekCurrent)
		if err != nil {
			return 0, errnoOf(err)
		}
		own, offset = at, &own
	}
	at := *offset
	sent, err := unix.Sendfile(socket, file, &at, min(n, MaxTransfer))
	if sent <= 0 && err != nil {
		if err == unix.ENOTSUP { // of what is no regular file; not the same number as EOPNOTSUPP everywhere
			return 0, syscall.EOPNOTSUPP
		}
		return 0, errnoOf(err)
	}
	*offset += int64(sent)
	if from == nil {
		if _, err := unix.Seek(file, *offset, io.SeekStart); err != nil {
			return sent, errnoOf(err)
		}
	}
	return sent, 0
}

// Pipe and Splice are not there.
func (*host) Pipe() (r, w int, errno syscall.Errno)       { return -1, -1, syscall.ENOSYS }
func (*host) Splice(from, to, n int) (int, syscall.Errno) { return 0, syscall.ENOSYS }
