package coserver

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/strand-net/strand/loop"
)

// run is one life of a Server, from its first Listen to the end of its Shutdown.
type run struct {
	server     *Server
	engine     *Engine
	ownsEngine bool

	draining atomic.Bool // shutting down: a connection that waits for a new request ends
	pace     pace

	queues  queueLimits
	memory  memory
	cutting atomic.Bool // somebody looks for the longest queues

	mu        sync.Mutex
	listeners []*Listener
	conns     *Conn // the first of a list
	count     int
	ending    bool          // no connection is taken any more
	idle      chan struct{} // closed when ending and the last handler has returned and the last queue is over
	over      chan struct{} // closed when Shutdown or Close has done all that it will do
}

func newRun(s *Server) (*run, error) {
	r := &run{server: s, engine: s.Engine, idle: make(chan struct{}), over: make(chan struct{})}
	if r.engine == nil {
		engine, err := NewEngine(EngineConfig{Logger: s.Logger})
		if err != nil {
			return nil, err
		}
		r.engine, r.ownsEngine = engine, true
	}
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
	if c.next = r.conns; c.next != nil {
		c.next.prev = c
	}
	r.conns = c
	r.count++
	return true
}

// remove takes c out again, when its handler has returned and its queue is over.
func (r *run) remove(c *Conn) {
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
	c.prev, c.next = nil, nil
	r.count--
	if r.ending && r.count == 0 {
		close(r.idle)
	}
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
	r.ending = true
	if r.count == 0 {
		close(r.idle)
	}
	return true
}

// each calls do for every connection.
func (r *run) each(do func(*Conn)) {
	r.mu.Lock()
	conns := make([]*Conn, 0, r.count)
	for c := r.conns; c != nil; c = c.next {
		conns = append(conns, c)
	}
	r.mu.Unlock()
	for _, c := range conns {
		do(c)
	}
}

// finish ends the life. It waits for nothing but what is over already.
func (r *run) finish() {
	if r.ownsEngine {
		select {
		case <-r.idle:
			r.engine.Close()
		default: // a handler goes on; the engine has to wait for it
			go r.engine.Close()
		}
	}
	r.server.ended(r)
	close(r.over)
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
	if err := r.engine.spawn(func() { c.task.run(nil, c) }); err != nil {
		l.Unhold()
		c.shut(err)
		c.depart()
		r.server.report(c, err)
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
	c := &Conn{run: r, local: from.local, network: from.network}
	if err := l.Attach(&c.sock, accepted, c); err != nil {
		r.server.report(c, err)
		return nil
	}
	if c.local == nil {
		c.local = net.TCPAddrFromAddrPort(c.sock.LocalAddr())
	}
	if !r.add(c) {
		c.shut(ErrServerClosed)
		return nil
	}
	return c
}
