package load

import (
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// To a server on loopback the peers of a worker share one socket, so that the load costs little and the server is what is measured: each is an address of
// its own in 127.0.0.0/8, all of which are this machine's (RFC 1122, 3.2.1.3). The first to each port has a socket of its own still: that one hears
// if nobody listens.

// sharedToken is what the poller knows a shared socket by.
const sharedToken = alarmToken - 1

// sharedTurns is how many times a shared socket reads before it is the turn of something else.
const sharedTurns = 4

// shares reports whether peers share sockets. Sources that were asked for are kept to.
func (o *Options) shares() bool {
	if o.Network != "udp" || len(o.Sources) > 0 || !native(sys.Host) {
		return false
	}
	host, _, err := splitPorts(o.Addr)
	ip, noIP := netip.ParseAddr(host)
	return err == nil && noIP == nil && ip.Is4() && ip.IsLoopback()
}

// peerAddr is the address of connection number n of a worker that shares its socket, and peerNumber undoes it.
func peerAddr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(n>>16) + 1, byte(n >> 8), byte(n)})
}

func peerNumber(ip netip.Addr) uint32 {
	b := ip.As4()
	return uint32(b[1]-1)<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// shareSocket has connection c, number n of the worker, send from the shared socket, if there is one and it is to.
func (w *worker) shareSocket(c *conn, n int) error {
	if !w.opts.shares() || n < len(w.remotes) {
		return nil
	}
	d := w.datagrams
	if d.shared == nil {
		var err error
		if d.shared, err = newSharedSocket(w.opts.Size.largest() + 1); err != nil {
			return err
		}
		if err := w.poller.Add(d.shared.fd, sharedToken, poller.Readable); err != nil {
			return err
		}
	}
	c.peer.source = peerAddr(uint32(n))
	return nil
}

// pullMore goes on with what has come to the shared socket, if anything has.
func (w *worker) pullMore() error {
	if w.datagrams == nil || !w.datagrams.more {
		return nil
	}
	return w.pullShared()
}

// pullShared takes what has come to the shared socket. It is called again if there is more.
func (w *worker) pullShared() error {
	d := w.datagrams
	d.more = false
	for range sharedTurns {
		n, errno := d.shared.receive()
		switch errno {
		case 0:
		case syscall.EAGAIN:
			return nil
		case syscall.EINTR:
			continue
		default:
			return os.NewSyscallError("recvmmsg", errno)
		}
		for i := range n {
			if err := w.takeShared(d.shared.datagram(i)); err != nil {
				return err
			}
		}
		if n < packetBatchSize {
			return nil
		}
	}
	d.more = true
	return nil
}

// takeShared takes a datagram that has come to one of the addresses. A connected socket would not have got what is not from the server.
func (w *worker) takeShared(data []byte, from netip.AddrPort, to netip.Addr) error {
	if !to.Is4() {
		return nil
	}
	n := peerNumber(to)
	if int(n) >= len(w.conns) || w.conns[n].peer == nil || w.conns[n].peer.source != to || from != addrPortOf(w.remoteOf(&w.conns[n])) {
		return nil
	}
	c := &w.conns[n]
	switch c.state {
	case stateHello:
		return w.hearAnswer(c, data)
	case stateOpen:
		if _, err := w.takeDatagram(c, data); err != nil || c.state != stateOpen {
			return err
		}
		return w.pushDatagrams(c)
	}
	return nil
}

// pushShared has what is to be sent sent with what others have.
func (w *worker) pushShared(c *conn) error {
	s := w.datagrams.shared
	to := addrPortOf(w.remoteOf(c))
	for ; c.sent != c.tail; c.sent++ {
		m := c.slot(c.sent)
		if err := w.addShared(s, c, m, to); err != nil {
			return err
		}
		w.seg.bytesOut += int64(m.size)
	}
	return nil
}

func (w *worker) addShared(s *sharedSocket, c *conn, m *message, to netip.AddrPort) error {
	if s.full() {
		if err := s.send(); err != nil {
			return err
		}
	}
	w.payload.fill(s.add(m.size, c.peer.source, to), m, 0)
	return nil
}

// flush sends what was gathered.
func (d *datagrams) flush() error {
	if d == nil || d.shared == nil {
		return nil
	}
	return d.shared.send()
}

func addrPortOf(remote net.Addr) netip.AddrPort {
	to := remote.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
}
