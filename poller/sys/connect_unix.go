//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func (*host) Connect(local, remote net.Addr) (int, error) {
	to, family, err := sockaddr(remote)
	if err != nil {
		return -1, err
	}
	fd, err := socket(family)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := begin(fd, family, local, to); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func begin(fd, family int, local net.Addr, to unix.Sockaddr) error {
	if family != unix.AF_UNIX {
		if err := setDefaults(fd); err != nil {
			return err
		}
	}
	if local != nil {
		from, localFamily, err := sockaddr(local)
		if err != nil {
			return err
		}
		if localFamily != family {
			return &net.AddrError{Err: "mismatched local address type", Addr: local.String()}
		}
		if err := unix.Bind(fd, from); err != nil {
			return os.NewSyscallError("bind", err)
		}
	}
	switch err := unix.Connect(fd, to); err {
	case nil, unix.EINPROGRESS, unix.EALREADY, unix.EINTR, unix.EISCONN: // after EINTR it goes on by itself (connect(2))
		return nil
	default:
		return os.NewSyscallError("connect", err)
	}
}

// sockaddr gives an address the kernel's form.
func sockaddr(addr net.Addr) (unix.Sockaddr, int, error) {
	switch addr := addr.(type) {
	case *net.UnixAddr:
		return &unix.SockaddrUnix{Name: addr.Name}, unix.AF_UNIX, nil
	case *net.TCPAddr:
		ip, ok := netip.AddrFromSlice(addr.IP)
		if !ok && len(addr.IP) > 0 {
			return nil, 0, &net.AddrError{Err: "invalid IP address", Addr: addr.String()}
		}
		if ip = ip.Unmap(); ip.Is6() {
			return &unix.SockaddrInet6{Addr: ip.As16(), Port: addr.Port, ZoneId: zoneIndex(addr.Zone)}, unix.AF_INET6, nil
		}
		if !ok { // any address: loopback for a remote one (ip(7))
			ip = netip.IPv4Unspecified()
		}
		return &unix.SockaddrInet4{Addr: ip.As4(), Port: addr.Port}, unix.AF_INET, nil
	}
	return nil, 0, fmt.Errorf("strand: connect: address of type %T: %w", addr, os.ErrInvalid)
}

// zone names an IPv6 scope as package net does: by its interface, or else by its number.
func zone(index int) string {
	if iface, err := net.InterfaceByIndex(index); err == nil {
		return iface.Name
	}
	return strconv.Itoa(index)
}

// zoneIndex undoes zone.
func zoneIndex(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if iface, err := net.InterfaceByName(zone); err == nil {
		return uint32(iface.Index)
	}
	index, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(index)
}

func (*host) Connected(fd int) syscall.Errno {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return errnoOf(err)
	}
	switch errno := syscall.Errno(code); errno {
	case 0, unix.EISCONN:
	case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
		return unix.EINPROGRESS
	default:
		return errno
	}
	// No error yet is no proof of a connection: an event may be spurious. A connected socket has a peer.
	if _, err := unix.Getpeername(fd); err != nil {
		if err == unix.ENOTCONN {
			return unix.EINPROGRESS
		}
		return errnoOf(err)
	}
	return 0
}
