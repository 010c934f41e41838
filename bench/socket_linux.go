package bench

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// openSocket makes a non-blocking, close-on-exec TCP socket that can connect to addr.
func openSocket(addr netip.AddrPort) (int, syscall.Errno) {
	family := unix.AF_INET6
	if addr.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err.(syscall.Errno)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		unix.Close(fd)
		return -1, err.(syscall.Errno)
	}
	return fd, 0
}

// connectSocket begins to connect: EINPROGRESS is the usual answer, and Writable the end of it (connect(2)).
func connectSocket(fd int, addr netip.AddrPort) syscall.Errno {
	var to unix.Sockaddr = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	if addr.Addr().Is4() {
		to = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	if err := unix.Connect(fd, to); err != nil {
		return err.(syscall.Errno)
	}
	return 0
}

// socketError takes the pending error of a socket (socket(7), SO_ERROR), 0 if there is none.
func socketError(fd int) syscall.Errno {
	value, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err.(syscall.Errno)
	}
	return syscall.Errno(value)
}
