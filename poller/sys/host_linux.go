package sys

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Host is the kernel of this machine.
var Host Kernel = &host{}

type host struct{}

// ENONET is an error that accept(2) may pass on, and that no other system has.
const ENONET = syscall.ENONET

// started is where Nanotime counts from: time.Since reads the monotonic clock without entering the kernel.
var started = time.Now()

// Listen lets package net resolve, bind and listen, so that names, dual-stack rules, backlog and errors are its own,
// and keeps a duplicate of the descriptor. Options of the listening socket are inherited by what it accepts (tcp(7)).
func (*host) Listen(network, address string) (int, net.Addr, error) {
	config := net.ListenConfig{Control: inheritedOptions}
	listener, err := Listen(&config, network, address)
	if err != nil {
		return -1, nil, err
	}
	return take(listener)
}

func (*host) ListenShared(network, address string) (int, net.Addr, error) {
	config := net.ListenConfig{Control: func(network, address string, raw syscall.RawConn) error {
		var errno syscall.Errno
		if err := raw.Control(func(fd uintptr) { errno = setOption(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); err != nil {
			return err
		}
		if errno != 0 {
			return os.NewSyscallError("setsockopt", errno)
		}
		return inheritedOptions(network, address, raw)
	}}
	listener, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return -1, nil, err
	}
	return take(listener)
}

// take keeps a duplicate of a listener's descriptor.
func take(listener net.Listener) (int, net.Addr, error) {
	defer listener.Close()
	if unixListener, ok := listener.(*net.UnixListener); ok {
		unixListener.SetUnlinkOnClose(false) // the duplicate goes on listening at that path
	}
	fd, err := duplicate(listener.(syscall.Conn))
	return fd, listener.Addr(), err
}

func inheritedOptions(network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	controlErr := raw.Control(func(fd uintptr) { err = setDefaults(int(fd)) })
	if controlErr != nil {
		return controlErr
	}
	return err
}

func (*host) Adopt(conn syscall.Conn) (int, error) {
	fd, err := duplicate(conn)
	if err != nil {
		return -1, err
	}
	if isTCPListener(fd) { // whoever made it has not set what the connections that it accepts are to have
		if err := setDefaults(fd); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func isTCPListener(fd int) bool {
	listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	protocol, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return listens != 0 && (protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_MPTCP)
}

func duplicate(conn syscall.Conn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	controlErr := raw.Control(func(original uintptr) {
		fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	})
	if controlErr != nil {
		return -1, controlErr
	}
	return fd, os.NewSyscallError("fcntl", err)
}

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

// zone names an IPv6 scope as package net does: by its interface, or else by its number.
func zone(index int) string {
	if iface, err := net.InterfaceByIndex(index); err == nil {
		return iface.Name
	}
	return strconv.Itoa(index)
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

func (*host) Nanotime() int64 { return int64(time.Since(started)) }

func (*host) NanotimeAt(t time.Time) int64 { return int64(t.Sub(started)) }
