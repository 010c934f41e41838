package sys

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func (*host) ListenPacket(network, address string) (int, net.Addr, error) {
	var config net.ListenConfig
	conn, err := config.ListenPacket(context.Background(), network, address)
	if err != nil {
		return -1, nil, err
	}
	defer conn.Close()
	fd, err := duplicate(conn.(syscall.Conn))
	return fd, conn.LocalAddr(), err
}

// SharePacket sets SO_REUSEPORT of the first socket only now: the kernel asks for it of both sockets when the second is bound, and makes
// a group of them then.
func (*host) SharePacket(fd int) (int, error) {
	if errno := setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); errno != 0 {
		return -1, os.NewSyscallError("setsockopt", errno)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return -1, os.NewSyscallError("getsockname", err)
	}
	family, only6 := unix.AF_INET, 0
	if _, ok := addr.(*unix.SockaddrInet6); ok {
		family = unix.AF_INET6
		if only6, err = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err != nil {
			return -1, os.NewSyscallError("getsockopt", err)
		}
	}
	shared, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	errno := setOption(shared, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if errno == 0 {
		errno = setOption(shared, unix.SOL_SOCKET, unix.SO_BROADCAST, 1) // as package net does
	}
	if errno == 0 && family == unix.AF_INET6 {
		errno = setOption(shared, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only6)
	}
	if errno != 0 {
		unix.Close(shared)
		return -1, os.NewSyscallError("setsockopt", errno)
	}
	if err := unix.Bind(shared, addr); err != nil {
		unix.Close(shared)
		return -1, os.NewSyscallError("bind", err)
	}
	return shared, nil
}

func (*host) CoalescePackets(fd int) syscall.Errno {
	return setOption(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
}

func (*host) CanSegment(fd int) bool {
	_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	return err == nil
}

func (*host) RecvFrom(fd int, p []byte) (n, size int, from netip.AddrPort, errno syscall.Errno) {
	var address unix.RawSockaddrAny
	length := uint32(unsafe.Sizeof(address))
	got, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_TRUNC, uintptr(unsafe.Pointer(&address)), uintptr(unsafe.Pointer(&length)))
	if errno != 0 {
		return 0, 0, netip.AddrPort{}, errno
	}
	received(fd)
	return min(int(got), len(p)), int(got), peerAddr(&address), 0
}

func (*host) SendTo(fd int, p []byte, to netip.AddrPort, inet6 bool) syscall.Errno {
	var address unix.RawSockaddrInet6
	length := putPeer(&address, to, inet6)
	sending()
	_, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&address)), uintptr(length))
	return errno
}

// peerAddr is addrPort, but for addresses of IPv4 that a socket of IPv6 has.
func peerAddr(address *unix.RawSockaddrAny) netip.AddrPort {
	addr := addrPort(address)
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// putPeer writes an address as the kernel reads it, for a socket of IPv6 or of IPv4. An address of the other kind becomes one
// that the kernel refuses.
func putPeer(address *unix.RawSockaddrInet6, to netip.AddrPort, inet6 bool) (length uint32) {
	if ip := to.Addr(); inet6 || ip.Is6() && !ip.Is4In6() {
		*address = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: ip.As16(), Scope_id: scope(ip.Zone())}
		putPort(&address.Port, to.Port())
		return unix.SizeofSockaddrInet6
	}
	in := (*unix.RawSockaddrInet4)(unsafe.Pointer(address))
	*in = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	putPort(&in.Port, to.Port())
	return unix.SizeofSockaddrInet4
}

func putPort(port *uint16, value uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(port))[:], value)
}

// mmsghdr is one message of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// segmentControl is the control message that tells of a Message's segments: an int from UDP_GRO, a uint16 for UDP_SEGMENT (udp(7)).
type segmentControl struct {
	header unix.Cmsghdr
	data   [8]byte
}

// headersOf are what the kernel wants to know of some messages. They lie beside each other, and point to each other.
type headersOf struct {
	messages []mmsghdr
	vectors  []unix.Iovec
	controls []segmentControl
}

func (h *headersOf) make(messages int) {
	h.messages, h.vectors = make([]mmsghdr, messages), make([]unix.Iovec, messages)
	h.controls = make([]segmentControl, messages)
	for i := range h.messages {
		h.messages[i].header.Iov = &h.vectors[i]
		h.messages[i].header.SetIovlen(1)
	}
}

type recvHeaders struct {
	headersOf
	addresses []unix.RawSockaddrAny
	used      int // by the latest call
}

func (h *recvHeaders) prepare(b *RecvBatch) {
	h.make(len(b.Messages))
	h.addresses = make([]unix.RawSockaddrAny, len(b.Messages))
	h.used = len(b.Messages)
	for i := range h.messages {
		h.vectors[i].Base = unsafe.SliceData(b.slot(i))
		h.vectors[i].SetLen(MaxSlot)
		h.messages[i].header.Name = (*byte)(unsafe.Pointer(&h.addresses[i]))
		h.messages[i].header.Control = (*byte)(unsafe.Pointer(&h.controls[i]))
	}
}

func (*host) RecvBatch(fd int, b *RecvBatch) (int, syscall.Errno) {
	h := &b.headers
	for i := range h.used { // the kernel has written what there was
		header := &h.messages[i].header
		header.Namelen = uint32(unsafe.Sizeof(h.addresses[i]))
		header.SetControllen(int(unsafe.Sizeof(h.controls[i])))
	}
	h.used = 0
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(h.messages))),
		uintptr(len(h.messages)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		h.used = 1 // the first may have been written to
		return 0, errno
	}
	received(fd)
	h.used = int(n)
	for i := range int(n) {
		m := &h.messages[i]
		b.Messages[i] = Message{Addr: peerAddr(&h.addresses[i]), Data: b.slot(i)[:m.length]}
		if m.header.Controllen > 0 {
			if c := &h.controls[i]; c.header.Level == unix.IPPROTO_UDP && c.header.Type == unix.UDP_GRO {
				if segment := int(binary.NativeEndian.Uint32(c.data[:])); segment < int(m.length) {
					b.Messages[i].Segment = segment
				}
			}
		}
	}
	return int(n), 0
}

type sendHeaders struct {
	headersOf
	addresses []unix.RawSockaddrInet6
}

func (h *sendHeaders) prepare(messages int) {
	h.make(messages)
	h.addresses = make([]unix.RawSockaddrInet6, messages)
	for i := range h.messages {
		h.messages[i].header.Name = (*byte)(unsafe.Pointer(&h.addresses[i]))
	}
}

func (h *sendHeaders) capacity() int { return len(h.messages) }

// Add adds a message, which must stay as it is until it is sent: its Data must not be empty if it has a Segment. inet6 says that the socket is one
// of IPv6. The batch must not be full.
func (b *SendBatch) Add(m Message, inet6 bool) {
	h, i := &b.headers, b.count
	b.count++
	h.messages[i].header.Namelen = putPeer(&h.addresses[i], m.Addr, inet6)
	b.SetData(i, m.Data, m.Segment)
}

// SetData changes what message i is to send.
func (b *SendBatch) SetData(i int, data []byte, segment int) {
	h := &b.headers
	h.vectors[i].Base = unsafe.SliceData(data)
	h.vectors[i].SetLen(len(data))
	header := &h.messages[i].header
	if segment == 0 || segment >= len(data) {
		header.Control = nil
		header.SetControllen(0)
		return
	}
	c := &h.controls[i]
	c.header = unix.Cmsghdr{Level: unix.IPPROTO_UDP, Type: unix.UDP_SEGMENT}
	c.header.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(c.data[:], uint16(segment))
	header.Control = (*byte)(unsafe.Pointer(c))
	header.SetControllen(unix.CmsgSpace(2))
}

// message is what was added as message i, for a kernel that takes one after the other.
func (b *SendBatch) message(i int) Message {
	h := &b.headers
	var address unix.RawSockaddrAny
	*(*unix.RawSockaddrInet6)(unsafe.Pointer(&address)) = h.addresses[i]
	m := Message{Addr: peerAddr(&address), Data: unsafe.Slice(h.vectors[i].Base, h.vectors[i].Len)}
	if h.messages[i].header.Control != nil {
		m.Segment = int(binary.NativeEndian.Uint16(h.controls[i].data[:]))
	}
	return m
}

func (*host) SendBatch(fd int, b *SendBatch, first int) (int, syscall.Errno) {
	sending()
	h := &b.headers
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&h.messages[first])),
		uintptr(b.count-first), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
