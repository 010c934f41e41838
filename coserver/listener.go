package coserver

import (
	"errors"
	"net"
	"sync"

	"github.com/strand-net/strand/loop"
)

// backlog is how many connections a Listener holds that nobody has accepted yet; the others wait in the kernel.
const backlog = 128

// Listener is a listening socket: of a [Server], which serves its connections, or of [Listen], as a net.Listener. Its
// methods are safe from any goroutine.
type Listener struct {
	run *run
	ln  *loop.Listener

	mu      sync.Mutex
	started bool
	closed  bool
	arrived []*Conn
	waiting []*waiter // in Accept
}

// Listen announces on an address, as net.Listen does, and returns a net.Listener. Its connections have no handler: any
// goroutine may use them, and each ends with its Close. They run on an engine of their own, which lives as long as the
// Listener or any of them. network is "tcp", "tcp4", "tcp6" or "unix". Errors are those of net.Listen.
func Listen(network, address string) (*Listener, error) {
	engine, err := NewEngine(EngineConfig{})
	if err != nil {
		return nil, err
	}
	ln, err := engine.Listen(network, address)
	if err != nil {
		engine.Close()
		return nil, err
	}
	go func() {
		<-ln.run.idle
		engine.Close()
	}()
	return ln, nil
}

// Listen is the function Listen with connections that run on e.
func (e *Engine) Listen(network, address string) (*Listener, error) {
	r := &run{server: new(Server), engine: e, idle: make(chan struct{}), over: make(chan struct{})}
	ln, err := r.listen(network, address)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners[ln] = struct{}{}
	return ln, nil
}

// Addr returns the address that the listener is bound to, with the port that was chosen for port 0.
func (ln *Listener) Addr() net.Addr { return ln.ln.Addr() }

// Accept waits for the next connection, a [*Conn]. It fails with net.ErrClosed after Close. The listener of a Server has
// none to give.
func (ln *Listener) Accept() (net.Conn, error) {
	if err := ln.begin(); err != nil {
		return nil, err
	}
	for {
		ln.mu.Lock()
		if ln.closed {
			ln.mu.Unlock()
			return nil, ln.opError("accept", net.ErrClosed)
		}
		if len(ln.arrived) > 0 {
			c := ln.arrived[0]
			ln.arrived[0] = nil
			ln.arrived = ln.arrived[1:]
			ln.mu.Unlock()
			ln.ln.Resume()
			return c, nil
		}
		w := new(waiter)
		w.prepare(ln.run.engine.current())
		ln.waiting = append(ln.waiting, w)
		ln.mu.Unlock()
		w.wait()
	}
}

// begin starts accepting with the first Accept.
func (ln *Listener) begin() error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.started {
		return nil
	}
	if ln.run.server.Handler != nil {
		return ln.opError("accept", errors.ErrUnsupported)
	}
	if err := ln.serve(ln.arrive); err != nil {
		return err
	}
	ln.started = true
	return nil
}

// serve gives each connection to open, with the address of its own end, or nil if that must be asked for.
func (ln *Listener) serve(open func(*loop.Loop, loop.Accepted, net.Addr)) error {
	local := ln.Addr()
	if tcp, ok := local.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		local = nil
	}
	return ln.ln.Serve(func(l *loop.Loop, accepted loop.Accepted) { open(l, accepted, local) })
}

// arrive keeps a connection for Accept. On the goroutine of its loop.
func (ln *Listener) arrive(l *loop.Loop, accepted loop.Accepted, local net.Addr) {
	c := ln.run.attach(l, accepted, local)
	if c == nil {
		return
	}
	l.Hold() // until Close
	c.fromListener = true
	ln.mu.Lock()
	if ln.closed {
		ln.mu.Unlock()
		c.shut()
		return
	}
	ln.arrived = append(ln.arrived, c)
	if len(ln.arrived) >= backlog {
		ln.ln.Pause()
	}
	var first *waiter
	if len(ln.waiting) > 0 {
		first = ln.waiting[0]
		ln.waiting = ln.waiting[1:]
	}
	ln.mu.Unlock()
	if first != nil {
		first.wake(nil)
	}
}

// Close stops listening: the address is free, new clients are refused, and waiting calls of Accept return net.ErrClosed.
// Connections that were accepted go on; those that nobody has accepted yet are closed. It fails with net.ErrClosed the
// second time.
func (ln *Listener) Close() error {
	ln.mu.Lock()
	if ln.closed {
		ln.mu.Unlock()
		return ln.opError("close", net.ErrClosed)
	}
	ln.closed = true
	arrived, waiting := ln.arrived, ln.waiting
	ln.arrived, ln.waiting = nil, nil
	ln.mu.Unlock()
	err := ln.ln.Close()
	for _, c := range arrived {
		c.shut()
	}
	for _, w := range waiting {
		w.wake(nil)
	}
	if ln.run.server.Handler == nil {
		ln.run.end()
		e := ln.run.engine
		e.mu.Lock()
		delete(e.listeners, ln)
		e.mu.Unlock()
	}
	return err
}

func (ln *Listener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: ln.Addr().Network(), Addr: ln.Addr(), Err: err}
}
