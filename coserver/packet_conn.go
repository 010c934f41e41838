package coserver

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/strand-net/strand/loop"
)

// PacketConn is a net.PacketConn on the loops: a socket of datagrams, without sessions. Its methods may be called from any goroutine, one reader
// beside one writer; further ones wait for their turn, in order. Handlers wait without holding up anything else.
//
// As in package net, a datagram that is longer than the buffer that it is read to is cut, and no error says so.
type PacketConn struct {
	conn  Conn // whose calls that know of streams are not used
	only4 bool
}

var _ net.PacketConn = (*PacketConn)(nil)

// ListenPacket announces on an address, as net.ListenPacket does. It runs on an engine that all ListenPacket, Listen and Dial share, and that runs
// as long as there is anything on it. network is "udp", "udp4" or "udp6". Errors are those of net.ListenPacket.
func ListenPacket(network, address string) (*PacketConn, error) {
	engine, err := leaseShared()
	if err != nil {
		return nil, err
	}
	defer engine.release()
	return engine.ListenPacket(network, address)
}

// ListenPacket is the function ListenPacket on e.
func (e *Engine) ListenPacket(network, address string) (*PacketConn, error) {
	packets, err := e.loops.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	c := &PacketConn{conn: Conn{run: &e.dialled, network: networkOf(network), local: packets.Addr()}}
	if addr, ok := packets.Addr().(*net.UDPAddr); ok {
		c.only4 = addr.IP.To4() != nil
	}
	o := &packetOpening{conn: &c.conn, packets: packets, loop: e.loops.Choose(), done: new(notice)}
	if !o.loop.Post(o) {
		packets.Close()
		return nil, loop.ErrEngineClosed
	}
	o.done.wait()
	if o.err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: packets.Addr(), Err: o.err}
	}
	return c, nil
}

// packetOpening is a PacketConn on its way to its loop.
type packetOpening struct {
	conn    *Conn
	packets loop.Packets
	loop    *loop.Loop
	err     error
	done    *notice
}

func (o *packetOpening) RunOnLoop() {
	defer o.done.give()
	c := o.conn
	if o.err = o.loop.AttachPackets(&c.sock, o.packets, c); o.err != nil {
		return
	}
	c.run.add(c)
	c.unserve()
}

// LocalAddr returns the address that it is bound to.
func (c *PacketConn) LocalAddr() net.Addr { return c.conn.local }

// ReadFrom waits for a datagram and copies it to p, as much as fits. It fails with os.ErrDeadlineExceeded and net.ErrClosed.
func (c *PacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(p)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// ReadFromUDPAddrPort is ReadFrom without an allocation. An IPv4 address is one also if the socket is one of IPv6.
func (c *PacketConn) ReadFromUDPAddrPort(p []byte) (n int, from netip.AddrPort, err error) {
	err = c.transfer(loop.ReadSide, func() (err error) {
		n, _, from, err = c.conn.sock.RecvFrom(p)
		return err
	})
	if err != nil {
		return 0, netip.AddrPort{}, c.opError("read", nil, err)
	}
	return n, from, nil
}

// WriteTo sends p as one datagram to a *net.UDPAddr. If the kernel has no room, it waits until it has. It fails with os.ErrDeadlineExceeded, net.ErrClosed, and
// EMSGSIZE if p is longer than a datagram may be.
func (c *PacketConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	to, ok := addr.(*net.UDPAddr)
	if !ok || to == nil {
		return 0, c.opError("write", addr, syscall.EINVAL)
	}
	return c.writeTo(p, to.AddrPort(), addr)
}

// WriteToUDPAddrPort is WriteTo.
func (c *PacketConn) WriteToUDPAddrPort(p []byte, to netip.AddrPort) (int, error) {
	return c.writeTo(p, to, nil)
}

func (c *PacketConn) writeTo(p []byte, to netip.AddrPort, addr net.Addr) (int, error) {
	err := c.refuses(to)
	if err == nil {
		err = c.transfer(loop.WriteSide, func() error { return c.conn.sock.SendTo(p, to) })
	}
	if err != nil {
		if addr == nil && to.IsValid() {
			addr = net.UDPAddrFromAddrPort(to)
		}
		return 0, c.opError("write", addr, err)
	}
	return len(p), nil
}

// refuses returns what there is to be said against an address before the kernel is asked.
func (c *PacketConn) refuses(to netip.AddrPort) error {
	switch ip := to.Addr(); {
	case !ip.IsValid():
		return &net.AddrError{Err: "invalid IP address", Addr: to.String()}
	case c.only4 && ip.Is6() && !ip.Is4In6():
		return &net.AddrError{Err: "non-IPv4 address", Addr: ip.String()}
	}
	return nil
}

// transfer makes a call that moves a datagram through side, and waits for that if need be.
func (c *PacketConn) transfer(side loop.Side, call func() error) error {
	conn := &c.conn
	if err := conn.lock(side); err != nil {
		return err
	}
	defer conn.unlock(side)
	if err := conn.expired(side); err != nil {
		return err
	}
	for known := side == loop.WriteSide; ; { // there is room, as a rule, whatever the kernel has told of that
		if known || conn.sock.Take(side) {
			if err := call(); err != loop.ErrNotReady {
				return err
			}
		}
		var err error
		if known, err = conn.wait(side); err != nil {
			return err
		}
	}
}

// Close closes the socket. Every call that waits on it returns net.ErrClosed. It fails with net.ErrClosed the second time.
func (c *PacketConn) Close() error {
	if !c.conn.shut(net.ErrClosed) {
		return c.opError("close", nil, net.ErrClosed)
	}
	return nil
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *PacketConn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// SetReadDeadline makes calls that read, also one that waits already, fail with os.ErrDeadlineExceeded from t on. The zero Time means no deadline. It
// fails with net.ErrClosed.
func (c *PacketConn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline is SetReadDeadline for calls that write.
func (c *PacketConn) SetWriteDeadline(t time.Time) error { return c.conn.SetWriteDeadline(t) }

// SetReadBuffer sets the size of the kernel's receive buffer (SO_RCVBUF), in bytes. It fails with net.ErrClosed.
func (c *PacketConn) SetReadBuffer(bytes int) error { return c.conn.SetReadBuffer(bytes) }

// SetWriteBuffer sets the size of the kernel's send buffer (SO_SNDBUF), in bytes. It fails with net.ErrClosed.
func (c *PacketConn) SetWriteBuffer(bytes int) error { return c.conn.SetWriteBuffer(bytes) }

// SyscallConn gives access to the descriptor, as that of Conn does. It fails with net.ErrClosed after Close.
func (c *PacketConn) SyscallConn() (syscall.RawConn, error) { return c.conn.SyscallConn() }

// opError gives err the form that package net gives it.
func (c *PacketConn) opError(op string, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: c.conn.network.String(), Source: c.conn.local, Addr: addr, Err: err}
}
