//go:build dragonfly || (freebsd && !386 && !arm)

package sys

import "golang.org/x/sys/unix"

// accept takes a connection: non-blocking and close-on-exec (accept(2)).
func accept(fd int) (int, unix.Sockaddr, error) {
	return unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
}
