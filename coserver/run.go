package coserver

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/strand-net/strand/coserver/frame"
	"github.com/strand-net/strand/loop"
)

// run is one life of a Server, from its first Listen to the end of its Shutdown.
type run struct {
	life
	server     *Server
	engine     *Engine
	ownsEngine bool

	observer *Observer // or nil
	limits   limits
	timeouts timeouts
	timed    bool          // timeouts are set
	framing  frame.Framing // or nil

	draining atomic.Uint32 // drainNone, or it is shutting down
	pace     pace

	ctx  context.Context // of Conn.ServerContext; nil if there is no Server
	tell context.CancelCauseFunc

	queues  queueLimits
	memory  memory
	cutting atomic.Bool // somebody looks for the longest queues

	listeners []*Listener      // protected by mu, as all of this is
	conns     *Conn            // the first of a list
	listed    []*Conn          // the same, as long as nothing has changed since somebody asked; it must not be written to
	byID      map[uint64]*Conn // nil until somebody looks for one
	retiring  bool             // no listener is taken any more
}

func newRun(s *Server) (*run, error) {
	r := &run{server: s, engine: s.Engine}
	r.begin()
	r.limits = limits{conns: s.MaxConns, perIP: s.MaxConnsPerIP, overflow: s.Overflow, rate: newRate(s.AcceptRate, s.AcceptBurst),
		handshakes: s.MaxHandshakes}
	r.timeouts = timeouts{idle: s.IdleTimeout, read: s.ReadTimeout, write: s.WriteTimeout}
	r.timed = r.timeouts.any()
	if r.engine == nil {
		engine, err := NewEngine(EngineConfig{Logger: s.Logger})
		if err != nil {
			return nil, err
		}
		r.engine, r.ownsEngine = engine, true
	}
	r.observer, r.framing = s.Observer, s.Framing
	r.ctx, r.tell = context.WithCancelCause(context.Background())
	r.pace.learns = s.Carrier == Auto
	r.pace.period = int64(r.engine.monitor.period)
	r.setQueues()
	return r, nil
}

// add takes c into the list, or reports that the server is ending.
func (r *run) add(c *Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return false
	}
	r.server.counters.active.Add(1) // before the other: whoever sees that it came sees that it is there
	r.server.counters.accepted.Add(1)
	if c.next = r.conns; c.next != nil {
		c.next.prev = c
	}
	r.conns, r.listed = c, nil
	if r.byID != nil {
		r.byID[c.ID()] = c
	}
	r.count++
	return true
}

// remove takes c out again, when its handler has returned and its queue is over, and lets another in.
func (r *run) remove(c *Conn) {
	c.ended()
	r.server.counters.active.Add(-1)
	r.vacate(c.sock.Peer())
	r.unlink(c) // last: then Shutdown may return
}

func (r *run) unlink(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		r.conns = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next, r.listed = nil, nil, nil
	delete(r.byID, c.ID())
	r.left()
}

// end closes the listeners and lets nobody in any more. It reports whether it was the first to do so.
func (r *run) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return false
	}
	for _, ln := range r.listeners {
		_ = ln.unbind()
	}
	r.life.end()
	return true
}

// each calls do for every connection.
func (r *run) each(do func(*Conn)) {
	for _, c := range r.snapshot() {
		do(c)
	}
}

// finish ends the life, if nobody has yet; see [life.finish].
func (r *run) finish(forced bool) {
	r.server.ended(r) // in any case: whoever returns may start the server again
	r.life.finish(ownEngine(r.engine, r.ownsEngine), forced)
}

// open begins a connection that its handler serves. On the goroutine of its loop.
func (r *run) open(l *loop.Loop, accepted loop.Accepted, from *Listener) {
	c := r.attach(l, accepted, from)
	if c == nil {
		return
	}
	l.Hold() // until the task ends
	c.task.conn = c
	c.task.reactor = &r.engine.reactors[l.Index()]
	if r.server.inline() && r.begins(c, l) {
		c.task.startInline(c)
		return
	}
	c.task.state.Store(taskGoroutine)
	if err := r.engine.spawn(func() { c.task.run(nil, c) }); err != nil {
		l.Unhold()
		c.shut(err)
		c.depart()
		r.server.counters.refused.maxGoroutines.Add(1)
		r.server.report(c, err, endUnserved)
	}
}

// begins decides for a connection that opens: on its loop, as a probe if the others are apart, or on a goroutine.
func (r *run) begins(c *Conn, l *loop.Loop) (onLoop bool) {
	if !r.pace.apart.Load() {
		return true
	}
	if !r.pace.mayProbe(l.Now()) {
		return false
	}
	c.task.habits.probing = 2
	return true
}

// attach makes a connection known to its loop and to the run. It returns nil if either does not take it.
func (r *run) attach(l *loop.Loop, accepted loop.Accepted, from *Listener) *Conn {
	counts := &r.server.counters
	c := &Conn{run: r, local: from.local, network: from.network}
	if err := l.Attach(&c.sock, accepted, c); err != nil {
		r.vacate(c.sock.Peer())
		counts.refused.unwatched.Add(1)
		r.server.report(c, err, endUnserved)
		return nil
	}
	if c.local == nil {
		c.local = net.TCPAddrFromAddrPort(c.sock.LocalAddr())
	}
	c.observe()
	if !r.add(c) {
		c.shut(ErrServerClosed)
		r.vacate(c.sock.Peer())
		counts.refused.shutdown.Add(1)
		return nil
	}
	c.opened()
	return c
}
