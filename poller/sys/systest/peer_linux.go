package systest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// ErrWouldBlock is returned by a Peer's calls when there is nothing to read, or no room.
var ErrWouldBlock = errors.New("systest: would block")

// Peer is the client's end of a connection. It has no descriptor, and none of its calls waits.
type Peer struct{ end *endpoint }

// Client makes a connection to a listener. It is refused if there is none; the listener need not accept it for bytes to be
// sent.
func (k *Kernel) Client(addr net.Addr) (*Peer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.listener(addr, k.nextPeer)
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: addr.Network(), Addr: addr, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	if len(l.waiting) >= backlog {
		return nil, &net.OpError{Op: "dial", Net: addr.Network(), Addr: addr, Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}
	}
	k.nextPeer++
	server, client := k.connectEnds(fmt.Sprintf("%d to %s", k.nextPeer, addr))
	if tcp, ok := addr.(*net.TCPAddr); ok {
		server.local = tcp.AddrPort()
		server.remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(k.nextPeer >> 8), byte(k.nextPeer)}), uint16(20_000+k.nextPeer%40_000))
		client.local, client.remote = server.remote, server.local
	}
	l.waiting = append(l.waiting, server)
	l.file.changed(0)
	return &Peer{client}, nil
}

// Deliver moves up to n bytes of what is on its way to one of the ends that pick chooses among so many, with the end of the
// stream if it comes next. It reports whether anything could be moved.
func (k *Kernel) Deliver(n int, pick func(count int) int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	var moving []*endpoint
	for _, e := range k.links {
		if e.moves() {
			moving = append(moving, e)
		}
	}
	if len(moving) == 0 {
		return false
	}
	return moving[pick(len(moving))].deliver(n)
}

// moves reports whether deliver would move anything.
func (e *endpoint) moves() bool {
	if e.connecting != nil {
		l := e.kernel.listener(e.connecting, int(e.local.Port()))
		return l == nil || len(l.waiting) < backlog
	}
	if len(e.out) > 0 {
		return e.other.released || len(e.other.in) < e.other.window
	}
	return e.sentEnd && !e.arrived
}

func (p *Peer) lock() func() {
	p.end.kernel.mu.Lock()
	return p.end.kernel.mu.Unlock
}

// Addr is the peer's own address.
func (p *Peer) Addr() netip.AddrPort { return p.end.local }

// Write sends as much of b as there is room for, all of it or some and ErrWouldBlock.
func (p *Peer) Write(b []byte) (int, error) {
	defer p.lock()()
	n, errno := p.end.write(b)
	if errno == syscall.EAGAIN || errno == 0 && n < len(b) {
		return n, ErrWouldBlock
	}
	if errno != 0 {
		return n, errno
	}
	return n, nil
}

// Read takes what has arrived. It fails with ErrWouldBlock, io.EOF or a syscall.Errno.
func (p *Peer) Read(b []byte) (int, error) {
	defer p.lock()()
	n, errno := p.end.read(b)
	switch {
	case errno == syscall.EAGAIN:
		return 0, ErrWouldBlock
	case errno != 0:
		return 0, errno
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// CloseWrite sends the end of the stream.
func (p *Peer) CloseWrite() {
	defer p.lock()()
	_ = p.end.shutdown(syscall.SHUT_WR)
}

// Close ends the connection as close(2) does.
func (p *Peer) Close() {
	defer p.lock()()
	if !p.end.released {
		p.end.release()
	}
}

// Reset ends the connection by a reset.
func (p *Peer) Reset() {
	defer p.lock()()
	p.end.released = true
	p.end.abort()
}

// Urgent sends out-of-band data: from here on the server's reads may stop short.
func (p *Peer) Urgent() {
	defer p.lock()()
	if to := p.end.other; !to.dead && !to.urgent {
		to.urgent = true
		to.changed(0)
	}
}

// SetWindow changes how many bytes the peer takes without reading them.
func (p *Peer) SetWindow(n int) {
	defer p.lock()()
	p.end.window = n
	p.end.other.settle()
}

// Ended reports whether the connection has been reset, or ended in both directions.
func (p *Peer) Ended() bool {
	defer p.lock()()
	return p.end.dead || p.end.sentEnd && p.end.gotEnd
}
