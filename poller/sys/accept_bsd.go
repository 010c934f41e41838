//go:build darwin || ((netbsd || openbsd) && !386 && !arm)

package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// accept takes a connection: non-blocking and close-on-exec (accept(2), fcntl(2)). The lock keeps a child that is being forked from
// getting it.
func accept(fd int) (int, unix.Sockaddr, error) {
	syscall.ForkLock.RLock()
	conn, peer, err := unix.Accept(fd)
	if err == nil {
		unix.CloseOnExec(conn)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, nil, err
	}
	if err := unix.SetNonblock(conn, true); err != nil {
		unix.Close(conn)
		return -1, nil, err
	}
	return conn, peer, nil
}
