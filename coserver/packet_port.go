package coserver

import (
	"net"
	"net/netip"
	"sync"

	"github.com/strand-net/strand/loop"
)

// recvMessages is how many messages a loop receives at once. More makes the last wait longer for their turn; docs/adr/0010 has the figures.
const recvMessages = 64

// After so many errors in a row, which then are of the socket or the machine, receiving rests for so long, in nanoseconds, after each.
const (
	mostErrors = 64
	errorPause = 10e6
)

// packetPort is one socket of a PacketServer, which one loop watches, and the sessions of those who send to it.
//
// A turn of the loop takes a batch from the kernel and gives each datagram to its session; then the handlers run that have waited for one,
// and write their answers; then what they have written goes out together.
type packetPort struct {
	sock    loop.Socket
	run     *packetRun
	reactor *reactor
	local   net.Addr
	in      *loop.RecvBatch // loop goroutine only, as errors and retry are
	errors  int             // that receiving has met with in a row
	retry   loop.Timer
	out     packetOut

	mu       sync.Mutex // before that of a session
	sessions map[netip.AddrPort]*PacketSession
}

// portOpening is a port on its way to its loop.
type portOpening struct {
	port    *packetPort
	packets loop.Packets
	result  chan<- error // has room
}

func (o *portOpening) RunOnLoop() { o.result <- o.port.open(o.packets) }

// open attaches the port to its loop. Loop goroutine only.
func (p *packetPort) open(packets loop.Packets) error {
	l := p.reactor.loop
	p.in = loop.NewRecvBatch(recvMessages)
	p.sessions = make(map[netip.AddrPort]*PacketSession)
	if err := l.AttachPackets(&p.sock, packets, p); err != nil {
		return err
	}
	p.out.outgoing = loop.NewOutgoing(&p.sock, p.sendFailed)
	if !p.run.addPort(p) {
		p.sock.Close()
		return ErrServerClosed
	}
	p.await()
	return nil
}

// await makes sure that the port hears of what comes next. Loop goroutine only.
func (p *packetPort) await() {
	for !p.sock.Arm(loop.ReadSide) {
		if p.sock.Take(loop.ReadSide) {
			p.reactor.loop.Requeue((*portReading)(p))
			return
		}
	}
}

// ReadReady is for the loop.
func (p *packetPort) ReadReady() { p.receive() }

// portReading is a port that goes on receiving after everything else has had its turn.
type portReading packetPort

func (r *portReading) RunOnLoop() { (*packetPort)(r).receive() }

// receive takes a batch. Loop goroutine only.
func (p *packetPort) receive() {
	if p.run.drained.Load() || p.sock.Acquire(loop.ReadSide) != loop.TurnTaken {
		return
	}
	n, err := p.sock.RecvBatch(p.in)
	p.sock.Release(loop.ReadSide)
	if n > 0 {
		p.reactor.loop.Handled(n)
		p.deliver(n)
	}
	if err == nil || err == loop.ErrNotReady {
		p.errors = 0
		p.await()
		return
	}
	// As a rule it is of a datagram that was sent before, and taken from the socket with that.
	p.run.server.counters.receiveErrors.Add(1)
	if p.errors++; p.errors < mostErrors {
		p.await()
		return
	}
	l := p.reactor.loop
	l.SetTimer(&p.retry, l.Now()+errorPause, (*portReading)(p))
}

// deliver gives what a batch has to the sessions. Loop goroutine only.
func (p *packetPort) deliver(n int) {
	now := p.reactor.loop.Now()
	p.out.begin()
	p.mu.Lock()
	var s *PacketSession
	for i := range n {
		m := &p.in.Messages[i]
		if s == nil || s.peer != m.Addr {
			s = p.sessions[m.Addr]
		}
		if m.Segment == 0 {
			s = p.arrive(s, m.Addr, m.Data, now)
			continue
		}
		for rest := m.Data; len(rest) > 0; {
			size := min(m.Segment, len(rest))
			s = p.arrive(s, m.Addr, rest[:size], now)
			rest = rest[size:]
		}
	}
	p.mu.Unlock()
	p.reactor.loop.Requeue((*portFlush)(p)) // after the handlers that have been woken
}

// arrive gives a datagram to the session of its peer, or to a new one. The caller must have mu.
func (p *packetPort) arrive(s *PacketSession, from netip.AddrPort, data []byte, now int64) *PacketSession {
	if s == nil {
		if !p.run.admit() {
			return nil
		}
		s = newPacketSession(p, from)
		p.sessions[from] = s
		p.reactor.loop.Hold() // until the task ends
		p.reactor.loop.Requeue((*sessionBegin)(s))
	}
	s.arrive(data, now)
	return s
}

// replace is the end of a session whose handler has returned. What it has not read begins the next.
func (p *packetPort) replace(s *PacketSession) {
	p.mu.Lock()
	left := s.takeWaiting()
	if left.len() > 0 && !p.run.drained.Load() {
		next := newPacketSession(p, s.peer)
		next.waiting = left
		next.active = p.reactor.loop.Now()
		p.sessions[s.peer] = next
		p.mu.Unlock()
		p.run.server.counters.opened.Add(1)
		p.reactor.loop.Hold()
		p.reactor.loop.Post((*sessionBegin)(next)) // the loop is held
		return
	}
	delete(p.sessions, s.peer)
	p.mu.Unlock()
	left.drop(p.run)
	p.run.depart()
}

// each calls do for every session.
func (p *packetPort) each(do func(*PacketSession)) {
	p.mu.Lock()
	sessions := make([]*PacketSession, 0, len(p.sessions))
	for _, s := range p.sessions {
		sessions = append(sessions, s)
	}
	p.mu.Unlock()
	for _, s := range sessions {
		do(s)
	}
}

// shut closes the port and its sessions at once.
func (p *packetPort) shut(cause error) {
	p.each(func(s *PacketSession) { s.shut(cause) })
	p.close()
}

// close sends what is gathered, as far as it goes at once, and closes the socket.
func (p *packetPort) close() {
	p.out.end(p)
	p.sock.Close()
}

// WriteReady is for the loop.
func (p *packetPort) WriteReady() { p.out.ready(p) }

// Hangup is for the loop. A socket of datagrams has no end; what the kernel has to tell, the next call will.
func (p *packetPort) Hangup() {}

// Kill is for the loop.
func (p *packetPort) Kill() { p.shut(loop.ErrEngineClosed) }

// sendFailed takes in that the kernel has refused a datagram. The caller has the lock of p.out.
func (p *packetPort) sendFailed(to netip.AddrPort, datagrams int, err error) {
	p.run.server.counters.sendErrors.Add(uint64(datagrams))
	p.mu.Lock()
	s := p.sessions[to]
	p.mu.Unlock()
	if s != nil {
		s.refused(err)
	}
}
