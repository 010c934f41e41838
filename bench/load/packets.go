package load

import (
	"net"
	"net/netip"
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// packetBatch is room for some datagrams, which go to or come from one socket.
type packetBatch struct {
	rooms  [][]byte
	sizes  []int // of what is in them
	native nativeBatch
}

// packetBatchSize is how many datagrams go in one system call.
const packetBatchSize = 64

// newPacketBatch has room for datagrams of up to largest bytes.
func newPacketBatch(largest int) *packetBatch {
	b := &packetBatch{rooms: make([][]byte, packetBatchSize), sizes: make([]int, packetBatchSize)}
	for i := range b.rooms {
		b.rooms[i] = make([]byte, largest)
	}
	b.native.prepare(b)
	return b
}

func (b *packetBatch) size() int { return len(b.rooms) }

// room is where datagram i is to be written, which will be sent.
func (b *packetBatch) room(i, size int) []byte {
	b.sizes[i] = size
	return b.rooms[i][:size]
}

// datagram is one of those that have come.
func (b *packetBatch) datagram(i int) []byte { return b.rooms[i][:b.sizes[i]] }

// receive takes what has come, one datagram or as many as there are. What does not come from remote is no part of it.
func (b *packetBatch) receive(kernel sys.Kernel, fd int, remote net.Addr, one bool) (int, syscall.Errno) {
	switch {
	case !native(kernel):
		return b.receiveEach(kernel, fd, remote)
	case one:
		n, errno := kernel.Recv(fd, b.rooms[0])
		b.sizes[0] = n
		return 1, errno
	}
	return b.native.receive(b, fd)
}

// send sends the first n datagrams, and returns how many the socket has taken. Only if it is none there is an error.
func (b *packetBatch) send(kernel sys.Kernel, fd int, remote net.Addr, n int) (int, syscall.Errno) {
	switch {
	case !native(kernel):
		return b.sendEach(kernel, fd, remote, n)
	case n == 1:
		_, errno := kernel.Send(fd, b.datagram(0))
		return 1, errno
	}
	return b.native.send(b, fd, n)
}

// connectEach makes a socket for a kernel that this package does not make system calls of. It is not connected: what comes from others than remote is left
// out when it has come.
func connectEach(kernel sys.Kernel, source netip.Addr, remote *net.UDPAddr) (int, error) {
	network, local := "udp4", netip.IPv4Unspecified()
	if remote.IP.To4() == nil {
		network, local = "udp6", netip.IPv6Unspecified()
	}
	if source.IsValid() {
		local = source
	}
	fd, _, err := kernel.ListenPacket(network, netip.AddrPortFrom(local, 0).String())
	return fd, err
}

func (b *packetBatch) receiveEach(kernel sys.Kernel, fd int, remote net.Addr) (int, syscall.Errno) {
	want := remote.(*net.UDPAddr).AddrPort()
	for n := 0; n < len(b.rooms); {
		_, size, from, errno := kernel.RecvFrom(fd, b.rooms[n])
		switch {
		case errno != 0 && n > 0:
			return n, 0
		case errno != 0:
			return 0, errno
		case from == netip.AddrPortFrom(want.Addr().Unmap(), want.Port()):
			b.sizes[n] = min(size, len(b.rooms[n]))
			n++
		}
	}
	return len(b.rooms), 0
}

func (b *packetBatch) sendEach(kernel sys.Kernel, fd int, remote net.Addr, n int) (int, syscall.Errno) {
	to := remote.(*net.UDPAddr)
	for i := range n {
		if errno := kernel.SendTo(fd, b.datagram(i), to.AddrPort(), to.IP.To4() == nil); errno != 0 {
			if i > 0 {
				errno = 0
			}
			return i, errno
		}
	}
	return n, 0
}
