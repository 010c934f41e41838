package coserver

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/strand-net/strand/loop"
)

// packetRun is one life of a PacketServer, from its first Listen to the end of its Shutdown.
type packetRun struct {
	life
	server     *PacketServer
	engine     *Engine
	ownsEngine bool

	maxSessions int
	idleAfter   int64 // nanoseconds; 0: never
	maxWaiting  int
	memory      memory

	ctx  context.Context // of PacketSession.ServerContext
	tell context.CancelCauseFunc

	drained atomic.Bool // it is ending: nothing is received any more

	listeners []*PacketListener // protected by mu, as ports is
	ports     []*packetPort
}

func newPacketRun(s *PacketServer) (*packetRun, error) {
	r := &packetRun{server: s, engine: s.Engine}
	r.begin()
	r.maxSessions = orDefault(s.MaxSessions, defaultMaxSessions)
	r.maxWaiting = orDefault(s.MaxWaiting, defaultMaxWaiting)
	r.idleAfter = max(0, int64(orDefault(s.IdleTimeout, defaultPacketIdle)))
	r.memory = memory{max: int64(orDefault(s.MaxWaitingTotal, defaultMaxWaitingTotal)), used: &s.counters.waiting}
	if r.engine == nil {
		engine, err := NewEngine(EngineConfig{Logger: s.Logger})
		if err != nil {
			return nil, err
		}
		r.engine, r.ownsEngine = engine, true
	}
	r.ctx, r.tell = context.WithCancelCause(context.Background())
	return r, nil
}

// listen binds as many sockets as are to share the address.
func (r *packetRun) listen(network, address string) (*PacketListener, error) {
	first, err := r.engine.loops.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	ln := &PacketListener{run: r, addr: first.Addr(), bound: []loop.Packets{first}}
	sockets := r.engine.loops.Loops()
	if r.server.Sockets > 0 {
		sockets = min(sockets, r.server.Sockets)
	}
	for len(ln.bound) < sockets {
		another, err := first.Share()
		if err != nil {
			ln.unbind()
			return nil, err
		}
		ln.bound = append(ln.bound, another)
	}
	for _, p := range ln.bound { // at once: datagrams come from now on
		p.Coalesce()
		if err := p.SetBuffers(r.server.ReadBuffer, r.server.WriteBuffer); err != nil {
			ln.unbind()
			return nil, &net.OpError{Op: "listen", Net: network, Addr: ln.addr, Err: err}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		ln.unbind()
		return nil, ErrServerClosed
	}
	r.listeners = append(r.listeners, ln)
	return ln, nil
}

// unbind closes what is bound and not served.
func (ln *PacketListener) unbind() {
	for _, p := range ln.bound {
		p.Close()
	}
	ln.bound = nil
}

// serve gives each socket of ln to a loop.
func (r *packetRun) serve(ln *PacketListener) error {
	r.mu.Lock()
	bound, taken := ln.bound, ln.taken
	ln.bound, ln.taken = nil, true
	r.mu.Unlock()
	if taken {
		return &net.OpError{Op: "serve", Net: ln.addr.Network(), Addr: ln.addr, Err: net.ErrClosed}
	}
	results := make(chan error, len(bound))
	for i, packets := range bound {
		reactor := &r.engine.reactors[i]
		p := &packetPort{run: r, reactor: reactor, local: ln.addr}
		if !reactor.loop.Post(&portOpening{p, packets, results}) {
			packets.Close()
			results <- loop.ErrEngineClosed
		}
	}
	var failed error
	for range bound {
		if err := <-results; err != nil {
			failed = err
		}
	}
	return failed
}

// addPort takes p into the list, or reports that the server is ending.
func (r *packetRun) addPort(p *packetPort) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return false
	}
	r.ports = append(r.ports, p)
	return true
}

// admit takes a session in, unless there are too many.
func (r *packetRun) admit() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		r.server.counters.dropped.shutdown.Add(1)
		return false
	}
	if r.count >= r.maxSessions {
		r.server.counters.dropped.maxSessions.Add(1)
		return false
	}
	r.count++
	r.server.counters.active.Add(1)
	r.server.counters.opened.Add(1)
	return true
}

// depart takes it out, when its handler has returned.
func (r *packetRun) depart() {
	r.server.counters.active.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left()
}

// end lets nothing in any more. It reports whether it was the first to do so.
func (r *packetRun) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return false
	}
	r.drained.Store(true)
	for _, ln := range r.listeners {
		ln.unbind()
	}
	r.life.end()
	return true
}

func (r *packetRun) snapshot() []*packetPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*packetPort(nil), r.ports...)
}

// drain closes the sessions that wait for a datagram, and tells the others.
func (r *packetRun) drain() {
	r.tell(ErrServerClosed)
	for _, p := range r.snapshot() {
		p.each((*PacketSession).endIfWaiting)
	}
}

// force closes what is left, and ends the life without waiting for the handlers.
func (r *packetRun) force() {
	r.tell(ErrServerClosed)
	for _, p := range r.snapshot() {
		p.shut(ErrServerClosed)
	}
	r.finish(true)
}

// finish ends the life, if nobody has yet; as run.finish does.
func (r *packetRun) finish(forced bool) {
	for _, p := range r.snapshot() {
		p.close()
	}
	r.server.ended(r)
	r.life.finish(ownEngine(r.engine, r.ownsEngine), forced)
}

// isHandler reports whether the caller is a handler of r.
func (r *packetRun) isHandler() (is bool) {
	for _, p := range r.snapshot() {
		p.each(func(s *PacketSession) { is = is || s.task.isCaller() })
	}
	return is
}
