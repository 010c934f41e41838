package coserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
)

// ErrServerClosed is returned by Serve and ListenAndServe after Shutdown or Close.
var ErrServerClosed = errors.New("coserver: server closed")

// Carrier says what runs a server's handlers.
type Carrier uint8

const (
	// Auto chooses: inline where the machine allows it (amd64, arm64), a goroutine for each connection elsewhere.
	Auto Carrier = iota
	// Inline runs handlers as coroutines on their loops, at the cost of an event callback. Calls on Conns park the
	// handler; anything else that blocks holds up the loop.
	Inline
	// Channel runs each handler on a goroutine of its own.
	Channel
)

// String returns the name of the carrier as the command line has it.
func (c Carrier) String() string {
	switch c {
	case Auto:
		return "auto"
	case Inline:
		return "inline"
	case Channel:
		return "channel"
	}
	return fmt.Sprintf("Carrier(%d)", uint8(c))
}

// Server serves each connection with one plain, sequential function. Only Handler must be set; fields must not be
// changed after the first Listen.
//
// A Server can be started again when Shutdown or Close has returned.
type Server struct {
	// Handler is called for each connection, and the connection is closed when it returns. An error that it returns is
	// reported to OnError, unless it only says that the connection has ended. A panic or a runtime.Goexit in it
	// ends this connection and no other.
	Handler func(*Conn) error

	// Engine runs the connections, together with those of other servers. nil means an engine of the server's own, from
	// the first Listen to the end of Shutdown.
	Engine *Engine

	// Carrier says what runs the handlers.
	Carrier Carrier

	// OnError is told what a handler returned, panicked with (*PanicError) or was not started for. It is called on the
	// goroutine of the handler or of its loop and must not block. nil means that Logger gets it.
	OnError func(*Conn, error)

	// Logger gets what nobody else can be told. nil means slog.Default().
	Logger *slog.Logger

	mu  sync.Mutex
	run *run // nil when the server is not started
}

func (s *Server) validate() error {
	if s.Handler == nil {
		return errors.New("coserver: Server.Handler is nil")
	}
	if s.Carrier > Channel {
		return fmt.Errorf("coserver: Server.Carrier is %d, want Auto, Inline or Channel", s.Carrier)
	}
	if s.Carrier == Inline && !canInline {
		return fmt.Errorf("coserver: Server.Carrier is Inline: %w on this architecture", errors.ErrUnsupported)
	}
	return nil
}

func (s *Server) inline() bool { return canInline && s.Carrier != Channel }

func (s *Server) logger() *slog.Logger {
	if s.Logger != nil {
		return s.Logger
	}
	return slog.Default()
}

// Listen binds an address, and thereby starts the server if it is not started. network is "tcp", "tcp4", "tcp6" or
// "unix", and address is as in net.Listen. Clients can connect from now on and are served from [Server.Serve] on. Errors
// are those of net.Listen, or name the field of s that is wrong, or are ErrServerClosed while a Shutdown is under way.
func (s *Server) Listen(network, address string) (*Listener, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.run
	if r == nil {
		var err error
		if r, err = newRun(s); err != nil {
			return nil, err
		}
	}
	ln, err := r.listen(network, address)
	if err != nil {
		if s.run == nil && r.ownsEngine {
			r.engine.Close()
		}
		return nil, err
	}
	s.run = r
	return ln, nil
}

func (r *run) listen(network, address string) (*Listener, error) {
	// It may ask a name server, and r.mu is what every connection needs to begin and to end.
	raw, err := r.engine.loops.Listen(network, address)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		raw.Close()
		return nil, ErrServerClosed
	}
	ln := &Listener{run: r, ln: raw}
	r.listeners = append(r.listeners, ln)
	return ln, nil
}

// Serve serves the connections of ln, which Listen has returned, until Shutdown or Close, and returns ErrServerClosed when
// that has done its work: after it the program may end. It fails at once with net.ErrClosed if ln is closed.
func (s *Server) Serve(ln *Listener) error {
	err := ln.serve(ln.run.open)
	if err != nil {
		ln.run.mu.Lock()
		ending := ln.run.ending
		ln.run.mu.Unlock()
		if !ending {
			return err
		}
	}
	<-ln.run.over
	return ErrServerClosed
}

// ListenAndServe is Listen and then Serve.
func (s *Server) ListenAndServe(network, address string) error {
	ln, err := s.Listen(network, address)
	if err != nil {
		return err
	}
	return s.Serve(ln)
}

// Addr returns the address of the first listener, or nil if there is none.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return nil
	}
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	if len(s.run.listeners) == 0 {
		return nil
	}
	return s.run.listeners[0].Addr()
}

// Shutdown ends the server in order: new clients are refused from now on; connections whose handlers wait for the first byte
// of something new are closed, now or when they come to wait; the others finish. It returns nil when the last handler has
// returned. If ctx is done first, it closes what is left, as Close does, and returns the error of ctx. It is safe from
// any goroutine, also from a handler, which must then not wait for it. On a server that is not started it does nothing.
func (s *Server) Shutdown(ctx context.Context) error {
	r := s.current()
	if r == nil {
		return nil
	}
	first := r.end()
	r.draining.Store(true)
	r.each((*Conn).endIfIdle)
	var err error
	select {
	case <-r.idle:
	case <-ctx.Done():
		err = ctx.Err()
		r.each(func(c *Conn) { c.shut() })
	}
	if first {
		r.finish()
	}
	return err
}

// Close ends the server at once: the listeners and all connections are closed, and their handlers' calls fail with net.ErrClosed.
// It does not wait for the handlers. It is safe from any goroutine. On a server that is not started it does nothing.
func (s *Server) Close() error {
	r := s.current()
	if r == nil {
		return nil
	}
	first := r.end()
	r.each(func(c *Conn) { c.shut() })
	if first {
		r.finish()
	}
	return nil
}

func (s *Server) current() *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run
}

// ended forgets a life that is over, so that the next Listen begins another.
func (s *Server) ended(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == r {
		s.run = nil
	}
}
