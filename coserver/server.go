package coserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/strand-net/strand/loop"
)

// ErrServerClosed is returned by Serve and ListenAndServe after Shutdown or Close.
var ErrServerClosed = errors.New("coserver: server closed")

// Carrier says what runs a server's handlers.
type Carrier uint8

const (
	// Auto chooses: inline where the machine allows it (amd64, arm64), a goroutine for each connection elsewhere, and for handlers that
	// block again and again.
	Auto Carrier = iota
	// Inline runs handlers as coroutines on their loops, at the cost of an event callback. Calls on Conns park the
	// handler. If it blocks otherwise, its loop goes on without it after EngineConfig.TakeOverAfter, and it comes back when it waits.
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

	// TLSConfig makes the server one of TLS: the handler gets a connection whose handshake is done. It needs a certificate.
	// An application protocol that the handshake has agreed upon (NextProtos) is in [Conn.TLS]. A handshake that fails is
	// reported as an error of the handler is.
	TLSConfig *tls.Config

	// HandshakeTimeout is how long a client has for its handshake. 0 means 10 s, a negative value no limit.
	HandshakeTimeout time.Duration

	// OnError is told what a handler returned, panicked with (*PanicError) or was not started for. It is called on the
	// goroutine of the handler or of its loop and must not block. nil means that Logger gets it.
	OnError func(*Conn, error)

	// Logger gets what nobody else can be told. nil means slog.Default().
	Logger *slog.Logger

	// MaxQueued bounds what waits in the queue of one connection ([Conn.Enqueue]) because the peer does not read, and MaxQueuedTotal
	// what waits in those of all together, in bytes. A message counts its bytes and 64 more, until it is sent whole; one that is
	// queued for several connections counts its own bytes once in the total. No queue may be longer than what is left of the
	// total, so that slow peers, however many, leave room for the others. 0 means 1 MiB, and 256 MiB or twice MaxQueued.
	MaxQueued, MaxQueuedTotal int

	// QueuePolicy says what becomes of a message that there is no room for.
	QueuePolicy QueuePolicy

	// OnPressure is told when the queue of a connection has grown above HighWater, and when it has then fallen to LowWater, be it that it
	// was sent or dropped: high and low in turn, one call at a time for a connection. It is called on a goroutine of its own, so it
	// may block, and may come late: changes that undo each other meanwhile are left out, but never the last. A panic in it ends the
	// connection.
	OnPressure func(c *Conn, high bool)

	// HighWater and LowWater are the marks of OnPressure, in bytes as MaxQueued counts them. 0 means a quarter and a sixteenth of it.
	HighWater, LowWater int

	queueCounters queueCounters

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
	if config := s.TLSConfig; config != nil && len(config.Certificates) == 0 && config.GetCertificate == nil && config.GetConfigForClient == nil {
		return errors.New("coserver: Server.TLSConfig has no certificate")
	}
	return s.validateQueues()
}

func (s *Server) handshakeTimeout() time.Duration {
	if s.HandshakeTimeout == 0 {
		return defaultHandshakeTimeout
	}
	return s.HandshakeTimeout
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
	return s.listen(func(e *Engine) (*loop.Listener, error) { return e.loops.Listen(network, address) }, network, nil)
}

// listen adds a listener that bind gives, and starts the server if it is not started.
func (s *Server) listen(bind func(*Engine) (*loop.Listener, error), network string, original net.Listener) (*Listener, error) {
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
	ln, err := r.listen(bind, network, original)
	if err != nil {
		if s.run == nil && r.ownsEngine {
			r.engine.Close()
		}
		return nil, err
	}
	s.run = r
	return ln, nil
}

func (r *run) listen(bind func(*Engine) (*loop.Listener, error), network string, original net.Listener) (*Listener, error) {
	// It may ask a name server, and r.mu is what every connection needs to begin and to end.
	raw, err := bind(r.engine)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		raw.Close()
		return nil, ErrServerClosed
	}
	ln := newListener(r, raw, network, original)
	r.listeners = append(r.listeners, ln)
	return ln, nil
}

// Serve serves the connections of ln until Shutdown or Close, and returns ErrServerClosed when that has done its work: after
// it the program may end. It fails at once with net.ErrClosed if ln is closed.
//
// ln is what Listen has returned, or a listener from elsewhere that has a descriptor: a *net.TCPListener or *net.UnixListener,
// also one that net.FileListener has made of an inherited descriptor, or that of the function Listen. Such a one is taken
// over, which starts the server as Listen does: nobody else may accept on it, and it is closed at the end. For TLS there is
// TLSConfig; a listener that wraps another has no descriptor and is refused.
func (s *Server) Serve(ln net.Listener) error {
	own, err := s.own(ln)
	if err != nil {
		return err
	}
	if err := own.serve(own.run.open); err != nil {
		own.run.mu.Lock()
		ending := own.run.ending
		own.run.mu.Unlock()
		if !ending {
			return err
		}
	}
	<-own.run.over
	return ErrServerClosed
}

// own returns ln if it is a listener of the server's, and otherwise takes it over.
func (s *Server) own(ln net.Listener) (*Listener, error) {
	if own, ok := ln.(*Listener); ok && own.run.server == s {
		return own, nil
	}
	foreign, ok := ln.(interface {
		net.Listener
		syscall.Conn
	})
	if !ok {
		return nil, fmt.Errorf("coserver: cannot serve a %T: it has no descriptor: %w", ln, errors.ErrUnsupported)
	}
	return s.listen(func(e *Engine) (*loop.Listener, error) { return e.loops.Adopt(foreign) }, ln.Addr().Network(), foreign)
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
// returned and what was enqueued is sent. If ctx is done first, it closes what is left, as Close does, and returns the error of ctx. It is safe from
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
		r.each(func(c *Conn) { c.shut(ErrServerClosed) })
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
	r.each(func(c *Conn) { c.shut(ErrServerClosed) })
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
