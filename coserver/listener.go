package coserver

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"github.com/strand-net/strand/loop"
)

// backlog is how many connections a Listener holds that nobody has accepted yet; the others wait in the kernel.
const backlog = 128

// Listener is a listening socket: of a [Server], which serves its connections, or of [Listen], as a net.Listener. Its
// methods are safe from any goroutine.
type Listener struct {
	run      *run
	ln       *loop.Listener
	original net.Listener // what was taken over, or nil
	network  network
	local    net.Addr // of the connections; nil if it must be asked for

	mu      sync.Mutex
	started bool
	retired bool // no more will come than have been taken from the kernel
	settled bool // no more will come
	closed  bool
	arrived []*Conn
	waiting []*waiter // in Accept
}

// Listen announces on an address, as net.Listen does, and returns a net.Listener. Its connections have no handler: any
// goroutine may use them, and each ends with its Close. They run on an engine that all Listen and Dial share, and that runs as
// long as there is anything on it. network is "tcp", "tcp4", "tcp6" or "unix", for which stale files are replaced as by
// [Server.Listen]. Errors are those of net.Listen.
func Listen(network, address string) (*Listener, error) {
	engine, err := leaseShared()
	if err != nil {
		return nil, err
	}
	defer engine.release()
	return engine.Listen(network, address)
}

// Listen is the function Listen with connections that run on e.
func (e *Engine) Listen(network, address string) (*Listener, error) {
	return e.announce(func(e *Engine) (*loop.Listener, error) { return e.loops.Listen(network, address) }, network, nil)
}

// announce makes a Listener whose connections have no handler of one that bind gives.
func (e *Engine) announce(bind func(*Engine) (*loop.Listener, error), network string, original net.Listener) (*Listener, error) {
	r := &run{server: new(Server), engine: e}
	r.begin()
	r.setQueues()
	ln, err := r.listen(bind, network, original)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners[ln] = struct{}{}
	e.lease() // until Close
	return ln, nil
}

func newListener(r *run, ln *loop.Listener, name string, original net.Listener) *Listener {
	r.server.admission.add(ln)
	l := &Listener{run: r, ln: ln, original: original, network: networkOf(name), local: ln.Addr()}
	if tcp, ok := l.local.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		l.local = nil
	}
	return l
}

// Addr returns the address that the listener is bound to, with the port that was chosen for port 0.
func (ln *Listener) Addr() net.Addr { return ln.ln.Addr() }

// Accept waits for the next connection, a [*Conn]. It fails with net.ErrClosed after Close, and when there is none left
// after Retire. The listener of a Server has none to give.
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
		if ln.settled {
			ln.mu.Unlock()
			return nil, ln.opError("accept", net.ErrClosed)
		}
		w := prepared()
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
	if ln.run.server.currentHandler() != nil {
		return ln.opError("accept", errors.ErrUnsupported)
	}
	if err := ln.serve(ln.arrive); err != nil {
		return err
	}
	ln.started = true
	return nil
}

// serve gives each connection to open, with ln.
func (ln *Listener) serve(open func(*loop.Loop, loop.Accepted, *Listener)) error {
	return ln.ln.Serve(func(l *loop.Loop, accepted loop.Accepted) { open(l, accepted, ln) }, ln.run)
}

// arrive keeps a connection for Accept. On the goroutine of its loop.
func (ln *Listener) arrive(l *loop.Loop, accepted loop.Accepted, _ *Listener) {
	c := ln.run.attach(l, accepted, ln)
	if c == nil {
		return
	}
	c.unserve()
	ln.mu.Lock()
	if ln.closed {
		ln.mu.Unlock()
		c.shut(net.ErrClosed)
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
	arrived, waiting, retired := ln.arrived, ln.waiting, ln.retired
	ln.arrived, ln.waiting = nil, nil
	ln.mu.Unlock()
	var err error
	if !retired {
		err = ln.unbind()
	}
	for _, c := range arrived {
		c.shut(net.ErrClosed)
	}
	for _, w := range waiting {
		w.wake(nil)
	}
	if ln.run.server.currentHandler() == nil {
		ln.run.end()
		e := ln.run.engine
		e.mu.Lock()
		delete(e.listeners, ln)
		e.mu.Unlock()
		e.release()
	}
	return err
}

// unbind closes the descriptor, and that of the listener that was taken over.
func (ln *Listener) unbind() error {
	ln.run.server.admission.remove(ln.ln)
	err := ln.ln.Close()
	if ln.original != nil {
		err = errors.Join(err, ln.original.Close())
	}
	return err
}

// SyscallConn gives access to the descriptor, for its Control alone. It fails with net.ErrClosed after Close.
func (ln *Listener) SyscallConn() (syscall.RawConn, error) {
	if err := ln.ln.Control(func(uintptr) {}); err != nil {
		return nil, ln.opError("raw-control", err)
	}
	return (*rawListener)(ln), nil
}

// rawListener is a Listener as package syscall sees it.
type rawListener Listener

func (r *rawListener) Control(f func(fd uintptr)) error {
	if err := r.ln.Control(f); err != nil {
		return (*Listener)(r).opError("raw-control", err)
	}
	return nil
}

func (r *rawListener) Read(func(fd uintptr) bool) error {
	return (*Listener)(r).opError("raw-read", errors.ErrUnsupported)
}

func (r *rawListener) Write(func(fd uintptr) bool) error {
	return (*Listener)(r).opError("raw-write", errors.ErrUnsupported)
}

func (ln *Listener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: ln.network.String(), Addr: ln.Addr(), Err: err}
}
