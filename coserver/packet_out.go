package coserver

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/strand-net/strand/loop"
)

// packetOut is what is written to a port's socket. What handlers write that the loop runs gathers until they have all had their turn; what others
// write goes out at once, behind it.
type packetOut struct {
	mu        sync.Mutex // before that of a port
	outgoing  *loop.Outgoing
	scheduled bool // the loop will flush
	armed     bool // the kernel has no room: the loop will go on when there is
	over      bool
	writers   []*packetWriter // that wait for room, in order
}

// packetWriter is a Write that waits.
type packetWriter struct {
	session *PacketSession
	waiter  waiter
}

// largestDatagram is the most bytes that one has over IPv6 (RFC 8200, 3), where the header does not count.
const largestDatagram = loop.MaxDatagram + 20

// portFlush sends what the handlers of a turn have written.
type portFlush packetPort

func (f *portFlush) RunOnLoop() { (*packetPort)(f).out.flushed((*packetPort)(f)) }

// begin says that the loop will flush when handlers have run.
func (o *packetOut) begin() {
	o.mu.Lock()
	o.scheduled = true
	o.mu.Unlock()
}

func (o *packetOut) flushed(p *packetPort) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.scheduled = false
	o.flush(p)
}

// ready goes on when the kernel has room again.
func (o *packetOut) ready(p *packetPort) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.armed = false
	if o.flush(p) {
		o.wake(nil)
	}
}

// flush sends what is gathered, and reports whether that was all. If not, the loop goes on when there is room. The caller must have mu.
func (o *packetOut) flush(p *packetPort) bool {
	if o.armed {
		return false
	}
	if o.outgoing.Empty() {
		return true
	}
	if p.sock.Acquire(loop.WriteSide) != loop.TurnTaken {
		p.run.server.counters.dropped.closed.Add(uint64(o.outgoing.Drop()))
		return true
	}
	defer p.sock.Release(loop.WriteSide)
	for o.outgoing.Flush() != nil {
		if p.sock.Arm(loop.WriteSide) {
			o.armed = true
			return false
		}
	}
	return true
}

// wake lets calls go on that wait for room: those of s, or all if that is nil. The caller must have mu.
func (o *packetOut) wake(s *PacketSession) {
	o.writers = slices.DeleteFunc(o.writers, func(w *packetWriter) bool {
		if s != nil && w.session != s {
			return false
		}
		w.waiter.wake(nil)
		return true
	})
}

// end sends what it can and takes nothing more.
func (o *packetOut) end(p *packetPort) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.outgoing == nil || o.over {
		return
	}
	o.over = true
	if !o.flush(p) {
		p.run.server.counters.dropped.closed.Add(uint64(o.outgoing.Drop()))
	}
	o.wake(nil)
}

// send takes a datagram, waiting for room if need be.
func (o *packetOut) send(s *PacketSession, data []byte, to netip.AddrPort) error {
	if len(data) > largestDatagram || len(data) > loop.MaxDatagram && to.Addr().Is4() {
		return os.NewSyscallError("sendto", syscall.EMSGSIZE)
	}
	p, t := s.port, s.self()
	o.mu.Lock()
	for {
		if s.closed.Load() || o.over {
			o.mu.Unlock()
			return net.ErrClosed
		}
		if s.writeExpired() {
			o.mu.Unlock()
			return os.ErrDeadlineExceeded
		}
		// What waits already goes first.
		if len(o.writers) == 0 && (o.outgoing.Add(data, to) || o.flush(p) && o.outgoing.Add(data, to)) {
			break
		}
		w := &packetWriter{session: s}
		w.waiter.prepare(t)
		o.writers = append(o.writers, w)
		s.writing.Add(1)
		o.mu.Unlock()
		s.watchWriteDeadline()
		w.waiter.wait()
		s.writing.Add(-1)
		o.mu.Lock()
	}
	if t == nil || t.reactor != p.reactor || !o.leaveToLoop(p, t) {
		o.flush(p)
	}
	o.mu.Unlock()
	return nil
}

// leaveToLoop makes the loop flush, if t, which must be the caller, keeps it now. The caller must have mu.
func (o *packetOut) leaveToLoop(p *packetPort, t *task) bool {
	if o.scheduled {
		return t.onLoop()
	}
	l := p.reactor.loop
	if !l.Pin(t.visit) {
		return false
	}
	l.Requeue((*portFlush)(p))
	l.Unpin(t.visit)
	o.scheduled = true
	return true
}
