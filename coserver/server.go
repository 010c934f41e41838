package coserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/coserver/frame"
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

// Server serves each connection with one plain, sequential function. Only Handler must be set. Fields must not be changed after
// the first Listen; SetHandler and SetTLSConfig are for that.
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

	// Framing says where messages begin and end, for Recv and Send on its connections; SetFraming changes it for one of them. nil
	// means that they have none of their own.
	Framing frame.Framing

	// TLSConfig makes the server one of TLS: the handler gets a connection whose handshake is done. It needs a certificate.
	// An application protocol that the handshake has agreed upon (NextProtos) is in [Conn.TLS]. A handshake that fails is
	// reported as an error of the handler is.
	TLSConfig *tls.Config

	// HandshakeTimeout is how long a client has for its handshake, the wait for one of MaxHandshakes included. 0 means 10 s, a
	// negative value no limit.
	HandshakeTimeout time.Duration

	// MaxHandshakes is how many handshakes, of TLSConfig and of StartTLS, the clients have under way at a time: what a flood of them
	// costs in processor time. Further ones wait for their turn, in order. A client that has not sent the first byte of its
	// handshake takes no turn. 0 means no limit.
	MaxHandshakes int

	// MaxConns is how many connections the server has at a time, from when they are accepted to the return of their handlers, and
	// until what was enqueued is sent or dropped. 0 means as many as there are descriptors.
	MaxConns int

	// Overflow says what becomes of clients that come while there are MaxConns. With Backlog, the zero value, they wait in the
	// kernel, whose backlog is bounded (net.core.somaxconn): a burst is served a moment later and nobody sees an error. With
	// Refuse their connections are reset at once: better where connections last, for the wait may have no end, and a client
	// that is told can go elsewhere.
	Overflow Overflow

	// MaxConnsPerIP is how many connections one address may have at a time, of MaxConns. What is beyond is reset at once: in the backlog
	// it would be in the way of others. IPv6 addresses count by their first 64 bits, for whoever has one has all of these
	// (RFC 6177), but link-local ones each for itself. Unix sockets are not counted. 0 means no limit.
	MaxConnsPerIP int

	// AcceptRate is how many connections a second are accepted, on average, and AcceptBurst how many of them at once after a quiet
	// time; 0 means those of a second. What comes faster waits in the backlog, whatever Overflow says: refusing costs as much
	// as accepting, and is answered by the next attempt. An AcceptRate of 0 means no limit; the largest is 100,000.
	AcceptRate, AcceptBurst int

	// IdleTimeout is how long a call that reads waits for the first byte of something new, while nothing is written either (one
	// that is written to meanwhile waits up to twice as long from the last byte on); ReadTimeout how long it then waits for the
	// rest; and WriteTimeout how long a call waits for the peer to take what is written. 0 means no limit.
	//
	// The time begins with the first wait, stands still between calls, and single bytes do not begin it anew: it is for a whole
	// message, as the call defines it (the line of ReadSlice, the buffer of ReadFull, and what follows a Peek), and for the whole
	// of what is written; what is longer than a megabyte has it for each. Read and Next return what has come, whatever it is: a handler that puts messages together from these sets
	// deadlines, for only IdleTimeout counts there. Between a deadline and a limit the earlier counts.
	//
	// The call fails with ErrIdleTimeout, ErrReadTimeout or ErrWriteTimeout, which match os.ErrDeadlineExceeded; with the last
	// also one that reads, and has to send what Write has gathered before. A handler that
	// returns that has its connection closed, by a reset after ErrWriteTimeout; it is not reported, but counted in Stats. A
	// handler that goes on has the same time again. Of what is enqueued each message has WriteTimeout once it is the first; when that is
	// over the connection is reset, with ErrWriteTimeout as the cause of its Context.
	IdleTimeout, ReadTimeout, WriteTimeout time.Duration

	// OnError is told what a handler returned, panicked with (*PanicError) or was not started for. It is called on the
	// goroutine of the handler or of its loop and must not block. nil means that Logger gets it: of each of the three one in a
	// second, with the number of those left out, for clients may make it happen as often as they like. Stats counts them all.
	OnError func(*Conn, error)

	// Observer is told of connections that open and close, and of handlers that were taken over. nil means nobody is.
	Observer *Observer

	// Labels gives the goroutines of handlers, and what they Offload, labels for profiles (runtime/pprof): server, the address that the
	// connection was made to, and remote, that of the peer. It costs some allocations for each connection.
	Labels bool

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

	// ReusePort gives each loop a listening socket of its own, all at the same address (SO_REUSEPORT, socket(7)), and the
	// connections that the kernel deals to that. It is better where connections are many and short: accepting is not the work of
	// one loop, and none hands connections to another. Otherwise the default is better, one socket whose connections go to the
	// loop that has the fewest: the kernel knows nothing of the loops, so that some get more than others, and leaves new
	// clients to a loop that is busy while another has nothing to do. Besides, an address that is in use is no error if its other user
	// is of the same user and shares it too. Listen fails with errors.ErrUnsupported for "unix"; a listener that Serve takes
	// over stays as it is.
	ReusePort bool

	// DrainRate is how many connections a second Shutdown ends of those that wait for something new, so that their clients do
	// not all come back to the next server at once. The others are served as before until it is their turn. 0 means all at once.
	DrainRate int

	handler   atomic.Pointer[func(*Conn) error] // of SetHandler, or nil
	tlsConfig atomic.Pointer[tls.Config]        // of SetTLSConfig, or nil

	admission  admission
	handshakes handshakes
	counters   counters
	logs       [endKinds]logLimit

	mu         sync.Mutex
	run        *run // nil when the server is not started
	onShutdown []func()
}

// validate names every field that is wrong.
func (s *Server) validate() error {
	var errs []error
	if s.currentHandler() == nil {
		errs = append(errs, errors.New("coserver: Server.Handler is nil"))
	}
	if s.Carrier > Channel {
		errs = append(errs, fmt.Errorf("coserver: Server.Carrier is %d, want Auto, Inline or Channel", s.Carrier))
	}
	if s.Carrier == Inline && !canInline {
		errs = append(errs, fmt.Errorf("coserver: Server.Carrier is Inline: %w on this architecture", errors.ErrUnsupported))
	}
	if s.TLSConfig != nil && !hasCertificate(s.TLSConfig) {
		errs = append(errs, errors.New("coserver: Server.TLSConfig has no certificate"))
	}
	if s.Framing != nil {
		if err := s.Framing.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("coserver: Server.Framing: %w", err))
		}
	}
	errs = append(errs, s.validateLimits()...)
	return errors.Join(append(errs, s.validateQueues()...)...)
}

func hasCertificate(config *tls.Config) bool {
	return len(config.Certificates) > 0 || config.GetCertificate != nil || config.GetConfigForClient != nil
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
// "unix", and address is as in net.Listen. The file of a unix socket that a process of the same user has left behind is replaced,
// and no other. Clients can connect from now on and are served from [Server.Serve] on. Errors are those of net.Listen, or name
// the fields of s that are wrong, or are ErrServerClosed while a Shutdown or a Retire is under way.
func (s *Server) Listen(network, address string) (*Listener, error) {
	if s.ReusePort && network == "unix" {
		return nil, fmt.Errorf("coserver: Server.ReusePort: %w for unix sockets", errors.ErrUnsupported)
	}
	return s.listen(func(e *Engine) (*loop.Listener, error) {
		if s.ReusePort {
			return e.loops.ListenShared(network, address)
		}
		return e.loops.Listen(network, address)
	}, network, nil)
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
	if r.ending || r.retiring {
		raw.Close()
		return nil, ErrServerClosed
	}
	ln := newListener(r, raw, network, original)
	r.listeners = append(r.listeners, ln)
	return ln, nil
}

// Adopt is Listen with a listener from elsewhere that has a descriptor: a *net.TCPListener or *net.UnixListener, also one that
// net.FileListener has made of an inherited descriptor, or that of the function Listen. It is taken over: nobody else may
// accept on it, and it is closed at the end. For TLS there is TLSConfig; a listener that wraps another has no
// descriptor and is refused.
func (s *Server) Adopt(ln net.Listener) (*Listener, error) {
	adopt, err := adoption(ln)
	if err != nil {
		return nil, err
	}
	return s.listen(adopt, ln.Addr().Network(), ln)
}

// Serve serves the connections of ln until Shutdown or Close, and returns ErrServerClosed when that has done its work: after
// it the program may end. It fails at once with net.ErrClosed if ln is closed. ln is what Listen or Adopt has returned; any
// other is adopted.
func (s *Server) Serve(ln net.Listener) error {
	own, err := s.own(ln)
	if err != nil {
		return err
	}
	if err := own.serve(own.run.open); err != nil {
		own.run.mu.Lock()
		ending := own.run.ending || own.run.retiring
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
	return s.Adopt(ln)
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
