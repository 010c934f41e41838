//go:build (darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm

package sys

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket makes a non-blocking, close-on-exec stream socket (socket(2)).
func socket(family int) (int, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, err
	}
	refuseSignal(fd)
	return fd, nil
}

// isTCPListener reports whether a descriptor is a listening socket of TCP.
func isTCPListener(fd int) bool {
	listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	address, err := unix.Getsockname(fd)
	return listens != 0 && kind == unix.SOCK_STREAM && err == nil && addrPort(address).IsValid()
}

// addrPort is the zero AddrPort for an address that is none of IP.
func addrPort(address unix.Sockaddr) netip.AddrPort {
	switch address := address.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(address.Addr), uint16(address.Port))
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(address.Addr)
		if address.ZoneId != 0 {
			ip = ip.WithZone(zone(int(address.ZoneId)))
		}
		return netip.AddrPortFrom(ip, uint16(address.Port))
	}
	return netip.AddrPort{}
}
