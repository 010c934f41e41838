package sys

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Host is the kernel of this machine.
var Host Kernel = &host{}

type host struct{}

// Errors that accept(2) may pass on, and that not every system has.
const (
	ENONET    = syscall.ENONET
	EHOSTDOWN = syscall.EHOSTDOWN
)

func (*host) Accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	var address unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(address))
	conn, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&address)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(conn), addrPort(&address), 0
}

func (*host) LocalAddr(fd int) (netip.AddrPort, syscall.Errno) {
	var address unix.RawSockaddrAny
	size := uint32(unsafe.Sizeof(address))
	_, _, errno := syscall.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&address)),
		uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	return addrPort(&address), 0
}

// addrPort reads an address as the kernel writes it: the port in network byte order (ip(7), ipv6(7)).
func addrPort(address *unix.RawSockaddrAny) netip.AddrPort {
	switch address.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(address))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), bigEndian(&in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(address))
		ip := netip.AddrFrom16(in.Addr)
		if in.Scope_id != 0 {
			ip = ip.WithZone(scopeName(int(in.Scope_id)))
		}
		return netip.AddrPortFrom(ip, bigEndian(&in.Port))
	}
	return netip.AddrPort{}
}

func bigEndian(port *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(port))[:])
}

func (*host) Recv(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(min(len(p), MaxTransfer)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	received(fd)
	return int(n), 0
}

func (*host) Send(fd int, p []byte) (int, syscall.Errno) {
	sending()
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))),
		uintptr(min(len(p), MaxTransfer)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (*host) Sendv(fd int, bufs [][]byte) (int, syscall.Errno) {
	var vectors [MaxVectors]unix.Iovec
	count, left := 0, MaxTransfer
	for _, buf := range bufs {
		if len(buf) == 0 {
			continue
		}
		if count == len(vectors) || left == 0 {
			break
		}
		size := min(len(buf), left)
		vectors[count].Base = &buf[0]
		vectors[count].SetLen(size)
		count, left = count+1, left-size
	}
	sending()
	message := unix.Msghdr{Iov: &vectors[0]}
	message.SetIovlen(count)
	n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)), unix.MSG_NOSIGNAL)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func (*host) Shutdown(fd, how int) syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), uintptr(how), 0)
	return errno
}

func (*host) Close(fd int) syscall.Errno {
	_, _, errno := syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return errno
}
