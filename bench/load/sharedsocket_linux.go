package load

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/sys"
)

// sharedSocket sends datagrams from any address of this machine, and takes what comes to any: many of different peers in one system call, with the address in
// a control message (IP_PKTINFO, ip(7)). The calls are raw, as those of nativeBatch are.
type sharedSocket struct {
	fd      int
	in, out sharedHeaders
	count   int // of messages to be sent
}

// sharedHeaders are what the kernel wants to know of a batch, and its room.
type sharedHeaders struct {
	messages []packetHeader
	vectors  []unix.Iovec
	names    []unix.RawSockaddrInet4
	controls []packetInfo
	rooms    [][]byte
}

type packetInfo struct {
	header unix.Cmsghdr
	info   unix.Inet4Pktinfo
	_      [4]byte // controls are aligned to 8
}

// newSharedSocket is for datagrams of up to largest bytes.
func newSharedSocket(largest int) (*sharedSocket, error) {
	fd, _, err := sys.Host.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		return nil, err
	}
	s := &sharedSocket{fd: fd}
	s.in.prepare(largest)
	s.out.prepare(largest)
	for i := range s.out.messages {
		c := &s.out.controls[i]
		c.header = unix.Cmsghdr{Level: unix.IPPROTO_IP, Type: unix.IP_PKTINFO}
		c.header.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		s.out.messages[i].header.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
		s.out.messages[i].header.Namelen = unix.SizeofSockaddrInet4
	}
	for _, option := range []struct{ level, name, value int }{
		{unix.IPPROTO_IP, unix.IP_PKTINFO, 1}, {unix.SOL_SOCKET, unix.SO_RCVBUF, largestBuffer}, {unix.SOL_SOCKET, unix.SO_SNDBUF, largestBuffer},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	return s, nil
}

func (h *sharedHeaders) prepare(largest int) {
	const n = packetBatchSize
	h.messages, h.vectors, h.rooms = make([]packetHeader, n), make([]unix.Iovec, n), make([][]byte, n)
	h.names, h.controls = make([]unix.RawSockaddrInet4, n), make([]packetInfo, n)
	for i := range h.messages {
		h.rooms[i] = make([]byte, largest)
		h.vectors[i].Base = unsafe.SliceData(h.rooms[i])
		h.vectors[i].SetLen(largest)
		header := &h.messages[i].header
		header.Iov = &h.vectors[i]
		header.SetIovlen(1)
		header.Name = (*byte)(unsafe.Pointer(&h.names[i]))
		header.Control = (*byte)(unsafe.Pointer(&h.controls[i]))
	}
}

func (s *sharedSocket) close() { unix.Close(s.fd) }

// receive takes what has come, up to packetBatchSize datagrams, and returns how many that are.
func (s *sharedSocket) receive() (int, syscall.Errno) {
	for i := range s.in.messages {
		s.in.messages[i].header.Namelen = unix.SizeofSockaddrInet4
		s.in.messages[i].header.SetControllen(int(unsafe.Sizeof(s.in.controls[i])))
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(s.in.messages))), packetBatchSize,
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// datagram is one of those that have come: its content, and from and to where.
func (s *sharedSocket) datagram(i int) (data []byte, from netip.AddrPort, to netip.Addr) {
	name := &s.in.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	if c := &s.in.controls[i]; c.header.Level == unix.IPPROTO_IP && c.header.Type == unix.IP_PKTINFO {
		to = netip.AddrFrom4(c.info.Addr)
	}
	return s.in.rooms[i][:s.in.messages[i].length], netip.AddrPortFrom(netip.AddrFrom4(name.Addr), port), to
}

// full reports whether what was added must be sent first.
func (s *sharedSocket) full() bool { return s.count == packetBatchSize }

// add makes room for another datagram, from and to these addresses.
func (s *sharedSocket) add(size int, from netip.Addr, to netip.AddrPort) []byte {
	i := s.count
	s.count++
	s.out.vectors[i].SetLen(size)
	s.out.controls[i].info = unix.Inet4Pktinfo{Spec_dst: from.As4()}
	name := &s.out.names[i]
	*name = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], to.Port())
	return s.out.rooms[i][:size]
}

// send sends what was added. What the kernel has no room for is lost.
func (s *sharedSocket) send() error {
	for sent := 0; sent < s.count; {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.out.messages[sent])), uintptr(s.count-sent),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			sent += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN, syscall.ENOBUFS:
			s.count = 0
			return nil
		default:
			return os.NewSyscallError("sendmmsg", errno)
		}
	}
	s.count = 0
	return nil
}
