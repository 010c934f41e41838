package sys

import (
	"net"
	"net/netip"
	"syscall"
)

const (
	// MaxDatagram is the most bytes that a datagram of UDP over IPv4 has: 65,535 less the two headers (RFC 768, RFC 791). Over IPv6 it is
	// 20 more (RFC 8200, 3), which no buffer here needs to know: what is received is at most MaxSlot.
	MaxDatagram = 65_507

	// MaxSlot is what a datagram, or several of one peer that the kernel has put together, takes at most.
	MaxSlot = 1 << 16

	// MaxSegments is how many datagrams one message may be cut into (UDP_MAX_SEGMENTS in Linux: 64, and 128 from 6.9 on).
	MaxSegments = 64
)

// Message is one message of a batch: a datagram, or several of the same peer, one behind the other.
type Message struct {
	Addr    netip.AddrPort // of the peer; IPv4 addresses are none of IPv6 that stand for them
	Data    []byte
	Segment int // how long each datagram in Data is but the last, which may be shorter; 0: Data is one
}

// datagrams is the part of [Kernel] that is about sockets of UDP. ENOSYS says that the platform has no such call.
type datagrams interface {
	// ListenPacket binds a socket as package net does, with the errors of package net, and returns a non-blocking, close-on-exec
	// descriptor.
	ListenPacket(network, address string) (fd int, addr net.Addr, err error)

	// SharePacket binds another socket to the address of fd: from now on the kernel deals what comes by a hash of the two addresses, so
	// that all of one peer comes to one socket, as long as there are the same (SO_REUSEPORT, socket(7)). fd itself was not shared when it was
	// bound; so an address that somebody else has is an error still.
	SharePacket(fd int) (int, error)

	// CoalescePackets lets the kernel hand over several datagrams of a peer at once (UDP_GRO, udp(7)), and CanSegment reports whether
	// it takes several at once (UDP_SEGMENT).
	CoalescePackets(fd int) syscall.Errno
	CanSegment(fd int) bool

	// RecvFrom takes one datagram, and SendTo sends one, without blocking (recvfrom(2), sendto(2)). What does not fit p is lost: size is that of the
	// datagram, n of what is in p. inet6 says that the socket is one of IPv6; to must be valid.
	RecvFrom(fd int, p []byte) (n, size int, from netip.AddrPort, errno syscall.Errno)
	SendTo(fd int, p []byte, to netip.AddrPort, inet6 bool) syscall.Errno

	// RecvBatch fills b without blocking (recvmmsg(2)), and returns how many of its messages are valid until the next call.
	RecvBatch(fd int, b *RecvBatch) (int, syscall.Errno)

	// SendBatch sends messages of b without blocking (sendmmsg(2)), those from index first on, and returns how many it has taken. Only if it
	// is none there is an error: that of the first.
	SendBatch(fd int, b *SendBatch, first int) (int, syscall.Errno)
}

// RecvBatch has room for some messages. It belongs to one caller at a time.
type RecvBatch struct {
	Messages []Message
	room     []byte
	headers  recvHeaders
}

// NewRecvBatch returns room for so many messages of MaxSlot each. What no datagram is written to takes no memory: the kernel maps pages when
// they are first touched.
func NewRecvBatch(messages int) *RecvBatch {
	b := &RecvBatch{Messages: make([]Message, messages), room: make([]byte, messages*slotStride)}
	b.headers.prepare(b)
	return b
}

// slot is the room for message i.
func (b *RecvBatch) slot(i int) []byte {
	at := i * slotStride
	return b.room[at : at+MaxSlot : at+MaxSlot]
}

// slotStride is how far apart the slots begin. A power of two would put the begins of all, which are what small datagrams touch, into the same few lines of
// the processor's cache.
const slotStride = MaxSlot + 3*64

// SendBatch are some messages to be sent. It belongs to one caller at a time.
type SendBatch struct {
	headers sendHeaders
	count   int
}

// NewSendBatch returns a batch of up to so many messages.
func NewSendBatch(messages int) *SendBatch {
	b := new(SendBatch)
	b.headers.prepare(messages)
	return b
}

// Len is how many messages there are, and Reset takes all of them out.
func (b *SendBatch) Len() int { return b.count }
func (b *SendBatch) Reset()   { b.count = 0 }

// Full reports whether there is no room for another.
func (b *SendBatch) Full() bool { return b.count == b.headers.capacity() }
