package loop

import (
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// MaxDatagram is the most bytes that a datagram over IPv4 has. Over IPv6 the kernel takes some more.
const MaxDatagram = sys.MaxDatagram

// RecvBatch is room for some datagrams at once.
type RecvBatch = sys.RecvBatch

// NewRecvBatch returns room for so many messages.
func NewRecvBatch(messages int) *RecvBatch { return sys.NewRecvBatch(messages) }

// Packets is a bound socket of datagrams that no Socket holds yet.
type Packets struct {
	engine *Engine
	fd     int
	addr   net.Addr
}

// ListenPacket binds a socket of datagrams: network is "udp", "udp4" or "udp6", and address is as in net.ListenPacket. Errors are
// those of net.ListenPacket, or [ErrEngineClosed].
func (e *Engine) ListenPacket(network, address string) (Packets, error) {
	switch network {
	case "udp", "udp4", "udp6":
	default:
		return Packets{}, &net.OpError{Op: "listen", Net: network, Err: net.UnknownNetworkError(network)}
	}
	if e.isClosed() {
		return Packets{}, ErrEngineClosed
	}
	fd, addr, err := e.kernel.ListenPacket(network, address)
	if err != nil {
		return Packets{}, err
	}
	return Packets{e, fd, addr}, nil
}

// Share binds another socket to the same address. The kernel deals what comes among all that share it: what comes from one address, to one
// of them, as long as there are the same.
func (p Packets) Share() (Packets, error) {
	fd, err := p.engine.kernel.SharePacket(p.fd)
	if err != nil {
		return Packets{}, &net.OpError{Op: "listen", Net: p.addr.Network(), Addr: p.addr, Err: err}
	}
	return Packets{p.engine, fd, p.addr}, nil
}

// Coalesce has the kernel hand over several datagrams of a peer at once if it can.
func (p Packets) Coalesce() { p.engine.kernel.CoalescePackets(p.fd) }

// SetBuffers sets the sizes of the kernel's buffers (SO_RCVBUF, SO_SNDBUF), in bytes; 0 leaves one as it is.
func (p Packets) SetBuffers(read, write int) error {
	k := p.engine.kernel
	for _, buffer := range []struct {
		size int
		set  func(fd, bytes int) syscall.Errno
	}{{read, k.SetReadBuffer}, {write, k.SetWriteBuffer}} {
		if buffer.size == 0 {
			continue
		}
		if errno := buffer.set(p.fd, buffer.size); errno != 0 {
			return os.NewSyscallError("setsockopt", errno)
		}
	}
	return nil
}

// Addr returns the address that the socket is bound to.
func (p Packets) Addr() net.Addr { return p.addr }

// Close closes a socket that is not attached.
func (p Packets) Close() { p.engine.closeDescriptor(p.fd) }

// AttachPackets makes s the socket of p, watched by l on behalf of owner. If the kernel refuses to watch it, or the engine is closing, it is closed. Loop
// goroutine only.
func (l *Loop) AttachPackets(s *Socket, p Packets, owner Owner) error {
	if l.killed { // nobody would tell owner of it any more
		p.Close()
		return ErrEngineClosed
	}
	l.sockets.Add(1)
	if err := l.Attach(s, Accepted{fd: p.fd}, owner); err != nil {
		return err
	}
	if addr, errno := l.engine.kernel.LocalAddr(p.fd); errno == 0 && addr.Addr().Is6() {
		s.marks.Or(markInet6)
	}
	return nil
}

// RecvFrom takes one datagram without waiting. What does not fit p is lost: size is that of the whole, n of what is in p. It fails
// with [ErrNotReady] or an *os.SyscallError. The caller must have the turn of the read side.
func (s *Socket) RecvFrom(p []byte) (n, size int, from netip.AddrPort, err error) {
	for {
		n, size, from, errno := s.loop.engine.kernel.RecvFrom(int(s.fd), p)
		switch errno {
		case 0:
			s.Reopen(ReadSide)
			return n, size, from, nil
		case syscall.EAGAIN:
			return 0, 0, from, ErrNotReady
		case syscall.EINTR:
		default:
			s.Reopen(ReadSide)
			return 0, 0, from, os.NewSyscallError("recvfrom", errno)
		}
	}
}

// SendTo sends one datagram to a valid address, without waiting. It fails with [ErrNotReady] or an *os.SyscallError. The caller must have
// the turn of the write side.
func (s *Socket) SendTo(p []byte, to netip.AddrPort) error {
	_, err := s.transfer(WriteSide, "sendto", func() (int, syscall.Errno) {
		return len(p), s.loop.engine.kernel.SendTo(int(s.fd), p, to, s.isInet6())
	})
	return err
}

func (s *Socket) isInet6() bool { return s.marks.Load()&markInet6 != 0 }

// RecvBatch fills b without waiting and returns how many messages have come. It fails with [ErrNotReady] or an *os.SyscallError. If there may be more,
// the read side is ready again when it returns. The caller must have the turn of the read side.
func (s *Socket) RecvBatch(b *RecvBatch) (int, error) {
	for {
		n, errno := s.loop.engine.kernel.RecvBatch(int(s.fd), b)
		switch errno {
		case 0:
			if n == len(b.Messages) {
				s.Reopen(ReadSide)
			}
			return n, nil
		case syscall.EAGAIN:
			return 0, ErrNotReady
		case syscall.EINTR:
		default: // of a datagram that was sent before, which has nothing to do with those that are there
			s.Reopen(ReadSide)
			return 0, os.NewSyscallError("recvmmsg", errno)
		}
	}
}
