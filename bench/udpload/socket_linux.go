package udpload

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// socket sends datagrams from any address of this machine to one server, and takes what comes to any: many in one system call
// (sendmmsg(2), recvmmsg(2)), with the address in a control message (IP_PKTINFO, ip(7)). The calls are raw: they do not wait, and the Go scheduler would
// give the load's processor away in each that takes long.
type socket struct {
	fd     int
	poller poller.Poller
	events []poller.Event
	server unix.RawSockaddrInet4
	in     batchHeaders
	out    batchHeaders
}

// batchHeaders are what the kernel wants to know of a batch.
type batchHeaders struct {
	messages []messageHeader
	vectors  []unix.Iovec
	names    []unix.RawSockaddrInet4
	controls []packetInfo
}

type messageHeader struct {
	header unix.Msghdr
	length uint32
}

type packetInfo struct {
	header unix.Cmsghdr
	info   unix.Inet4Pktinfo
	_      [4]byte // controls are aligned to 8
}

func openSocket(server netip.AddrPort, size int) (*socket, error) {
	fd, _, err := sys.Host.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		return nil, err
	}
	s := &socket{fd: fd, events: make([]poller.Event, 1)}
	if s.poller, err = poller.New(sys.Host); err != nil {
		unix.Close(fd)
		return nil, err
	}
	s.server = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: server.Addr().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&s.server.Port))[:], server.Port())
	s.in.prepare()
	s.out.prepare()
	for i := range batchSize {
		buffer := make([]byte, size+1)
		s.in.vectors[i].Base = unsafe.SliceData(buffer)
		s.in.vectors[i].SetLen(len(buffer))
		s.out.names[i] = s.server
		c := &s.out.controls[i]
		c.header = unix.Cmsghdr{Level: unix.IPPROTO_IP, Type: unix.IP_PKTINFO}
		c.header.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		s.out.messages[i].header.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
		s.out.messages[i].header.Namelen = unix.SizeofSockaddrInet4
	}
	for _, option := range []struct{ level, name, value int }{
		{unix.IPPROTO_IP, unix.IP_PKTINFO, 1}, {unix.SOL_SOCKET, unix.SO_RCVBUF, bufferSize}, {unix.SOL_SOCKET, unix.SO_SNDBUF, bufferSize},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			s.close()
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := s.poller.Add(fd, 1, poller.Readable); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (h *batchHeaders) prepare() {
	h.messages, h.vectors = make([]messageHeader, batchSize), make([]unix.Iovec, batchSize)
	h.names, h.controls = make([]unix.RawSockaddrInet4, batchSize), make([]packetInfo, batchSize)
	for i := range h.messages {
		header := &h.messages[i].header
		header.Iov = &h.vectors[i]
		header.SetIovlen(1)
		header.Name = (*byte)(unsafe.Pointer(&h.names[i]))
		header.Control = (*byte)(unsafe.Pointer(&h.controls[i]))
	}
}

func (s *socket) close() {
	s.poller.Close()
	unix.Close(s.fd)
}

// receive waits for datagrams, but not for longer than lostAfter, and returns how many have come.
func (s *socket) receive() (int, error) {
	for waited := false; ; waited = true {
		for i := range s.in.messages {
			s.in.messages[i].header.Namelen = unix.SizeofSockaddrInet4
			s.in.messages[i].header.SetControllen(int(unsafe.Sizeof(s.in.controls[i])))
		}
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.in.messages[0])), batchSize,
			unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			return int(n), nil
		case errno == syscall.EAGAIN && waited:
			return 0, nil
		case errno == syscall.EAGAIN:
			if _, err := s.poller.Wait(s.events, lostAfter); err != nil {
				return 0, err
			}
		case errno != syscall.EINTR:
			return 0, os.NewSyscallError("recvmmsg", errno)
		}
	}
}

// datagram is one of those that have come: its content, and from and to where.
func (s *socket) datagram(i int) (data []byte, from netip.AddrPort, to netip.Addr) {
	name := &s.in.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	if c := &s.in.controls[i]; c.header.Level == unix.IPPROTO_IP && c.header.Type == unix.IP_PKTINFO {
		to = netip.AddrFrom4(c.info.Addr)
	}
	return unsafe.Slice(s.in.vectors[i].Base, s.in.messages[i].length), netip.AddrPortFrom(netip.AddrFrom4(name.Addr), port), to
}

// set makes data, from an address, message i of the next send.
func (s *socket) set(i int, data []byte, from netip.Addr) {
	s.out.vectors[i].Base = unsafe.SliceData(data)
	s.out.vectors[i].SetLen(len(data))
	s.out.controls[i].info = unix.Inet4Pktinfo{Spec_dst: from.As4()}
}

// send sends the first n messages. What the kernel has no room for is lost.
func (s *socket) send(n int) error {
	for sent := 0; sent < n; {
		done, _, errno := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.out.messages[sent])), uintptr(n-sent),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			sent += int(done)
		case syscall.EINTR:
		case syscall.EAGAIN, syscall.ENOBUFS:
			return nil
		default:
			return os.NewSyscallError("sendmmsg", errno)
		}
	}
	return nil
}
