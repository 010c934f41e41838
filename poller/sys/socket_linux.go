package sys

import "golang.org/x/sys/unix"

// socket makes a non-blocking, close-on-exec stream socket (socket(2)).
func socket(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}

// isTCPListener reports whether a descriptor is a listening socket of TCP.
func isTCPListener(fd int) bool {
	listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	protocol, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return listens != 0 && (protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_MPTCP)
}
