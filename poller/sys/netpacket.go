package sys

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// netPackets is how many bytes of datagrams a socket of Net keeps at most; the operating system keeps more.
const netPackets = 256 << 10

// netPacket is a socket of datagrams: a goroutine takes what comes, as long as there is room.
type netPacket struct {
	conn *net.UDPConn

	mu      sync.Mutex
	watcher Watcher
	closed  bool
	waiting []netDatagram
	bytes   int           // of these
	failed  syscall.Errno // of the latest read, until somebody takes it
	room    sync.Cond
}

type netDatagram struct {
	data []byte
	from netip.AddrPort
}

func (k *NetKernel) ListenPacket(network, address string) (int, net.Addr, error) {
	conn, err := new(net.ListenConfig).ListenPacket(context.Background(), network, address)
	if err != nil {
		return -1, nil, err
	}
	p := &netPacket{conn: conn.(*net.UDPConn)}
	p.room.L = &p.mu
	go p.read()
	return k.add(p), conn.LocalAddr(), nil
}

// packet is what stands behind a number that must be that of a socket of datagrams.
func (k *NetKernel) packet(fd int) (*netPacket, syscall.Errno) {
	switch d := k.find(fd).(type) {
	case *netPacket:
		return d, 0
	case nil:
		return nil, syscall.EBADF
	}
	return nil, syscall.ENOTSUP
}

// read takes datagrams until the socket is closed.
func (p *netPacket) read() {
	buffer := make([]byte, MaxSlot)
	for p.waitForRoom() {
		n, from, err := p.conn.ReadFromUDPAddrPort(buffer)
		p.arrived(append([]byte(nil), buffer[:n]...), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err)
	}
}

// waitForRoom also waits until an error has been taken, so that one which stays keeps nobody busy. It reports false when the socket is
// closed.
func (p *netPacket) waitForRoom() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed && (p.bytes >= netPackets || p.failed != 0) {
		p.room.Wait()
	}
	return !p.closed
}

func (p *netPacket) arrived(data []byte, from netip.AddrPort, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	if err != nil {
		p.failed = errnoFrom(err)
	} else {
		p.waiting = append(p.waiting, netDatagram{data, from})
		p.bytes += len(data)
	}
	p.tell(Readable)
}

// tell tells the watcher. The caller has mu.
func (p *netPacket) tell(what Condition) {
	if p.watcher != nil {
		p.watcher.Ready(what)
	}
}

func (p *netPacket) watch(w Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watcher = w
	holds := Writable // package net waits where there is no room, which is seldom and short
	if len(p.waiting) > 0 || p.failed != 0 {
		holds |= Readable
	}
	p.tell(holds)
}

func (p *netPacket) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.watcher, p.waiting = true, nil, nil
	p.room.Signal()
	p.conn.Close()
}

func (p *netPacket) localAddr() net.Addr { return p.conn.LocalAddr() }

func (p *netPacket) raw() any { return p.conn }

// take takes the datagram that has waited longest.
func (p *netPacket) take() (netDatagram, syscall.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.room.Signal()
	if len(p.waiting) == 0 {
		errno := p.failed
		p.failed = 0
		if errno == 0 {
			errno = syscall.EAGAIN
		}
		return netDatagram{}, errno
	}
	d := p.waiting[0]
	p.waiting[0] = netDatagram{}
	p.waiting = p.waiting[1:]
	p.bytes -= len(d.data)
	return d, 0
}

// SharePacket fails: package net binds an address once.
func (*NetKernel) SharePacket(int) (int, error) {
	return -1, fmt.Errorf("strand: sockets that share an address, over package net: %w", errors.ErrUnsupported)
}

func (*NetKernel) CoalescePackets(int) syscall.Errno { return syscall.ENOSYS }
func (*NetKernel) CanSegment(int) bool               { return false }

func (k *NetKernel) RecvFrom(fd int, p []byte) (n, size int, from netip.AddrPort, errno syscall.Errno) {
	s, errno := k.packet(fd)
	if errno != 0 {
		return 0, 0, netip.AddrPort{}, errno
	}
	d, errno := s.take()
	return copy(p, d.data), len(d.data), d.from, errno
}

// SendTo waits where package net does.
func (k *NetKernel) SendTo(fd int, p []byte, to netip.AddrPort, _ bool) syscall.Errno {
	s, errno := k.packet(fd)
	if errno != 0 {
		return errno
	}
	_, err := s.conn.WriteToUDPAddrPort(p, to)
	return errnoFrom(err)
}

func (k *NetKernel) RecvBatch(fd int, b *RecvBatch) (int, syscall.Errno) {
	return recvEach(func(p []byte) (int, netip.AddrPort, syscall.Errno) {
		n, _, from, errno := k.RecvFrom(fd, p)
		return n, from, errno
	}, b)
}

func (k *NetKernel) SendBatch(fd int, b *SendBatch, first int) (int, syscall.Errno) {
	return sendEach(func(p []byte, to netip.AddrPort) syscall.Errno { return k.SendTo(fd, p, to, false) }, b, first)
}
