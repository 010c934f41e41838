package coserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/strand-net/strand/loop"
)

// PacketServer serves each address that datagrams come from with one plain, sequential function: a session. Only Handler must be set. Fields must
// not be changed after the first Listen.
//
// A PacketServer can be started again when Shutdown or Close has returned.
type PacketServer struct {
	// Handler is called for an address that has no session when a datagram comes from it, and finds that with its first Read. The session is over
	// when it returns; what has come meanwhile and was not read begins the next one. (If it has read nothing at all, the first is dropped.) An error that it returns is reported to OnError, unless it only says
	// that the session has ended. A panic or a runtime.Goexit in it ends this session and no other.
	Handler func(*PacketSession) error

	// Engine runs the sessions, together with what else it has. nil means an engine of the server's own, from the first Listen to the end
	// of Shutdown.
	Engine *Engine

	// Carrier says what runs the handlers. Auto is Inline where the machine allows it.
	Carrier Carrier

	// MaxSessions is how many sessions there are at a time. What comes from further addresses is dropped: anybody can make up as many as he
	// likes. 0 means 65,536.
	MaxSessions int

	// IdleTimeout is how long a session waits for the next datagram, while nothing is written either. Then it is closed, and its Read fails with
	// ErrIdleTimeout. It does not end handlers that are busy with something else. 0 means 60 s, a negative value no limit.
	IdleTimeout time.Duration

	// MaxWaiting is how many datagrams wait for a session whose handler does not read, and MaxWaitingTotal how many bytes wait for all sessions
	// together, with what it takes to keep them. 0 means 64, and 256 MiB. What waits in the kernel is bounded by ReadBuffer besides.
	MaxWaiting, MaxWaitingTotal int

	// QueuePolicy says what becomes of a datagram that there is no room for: DropNewest drops it, DropOldest the one that has waited longest for the same
	// session, and CutSlow closes the session with ErrQueueFull. For want of MaxWaitingTotal it is dropped, whatever the policy.
	QueuePolicy QueuePolicy

	// Sockets is how many sockets share the address (SO_REUSEPORT, socket(7)), each the work of one loop. The kernel deals by a hash of the
	// addresses, so that all datagrams of a peer come to the same. 0 means one for each loop, which is also the most. An address that is in use is an
	// error all the same.
	Sockets int

	// ReadBuffer and WriteBuffer are the sizes of the kernel's buffers for each socket, in bytes (SO_RCVBUF, SO_SNDBUF), which the kernel bounds
	// (net.core.rmem_max). What comes while the first is full is lost. 0 means the kernel's default.
	ReadBuffer, WriteBuffer int

	// OnError is told what a handler returned, panicked with (*PanicError) or was not started for. It is called on the goroutine of the
	// handler or of its loop and must not block. nil means that Logger gets it, of each of the three one in a second. Stats counts them all.
	OnError func(*PacketSession, error)

	// Logger gets what nobody else can be told. nil means slog.Default().
	Logger *slog.Logger

	counters packetCounters
	logs     [endKinds]logLimit

	mu  sync.Mutex
	run *packetRun // nil when the server is not started
}

const (
	defaultMaxSessions     = 64 << 10
	defaultPacketIdle      = 60 * time.Second
	defaultMaxWaiting      = 64
	defaultMaxWaitingTotal = 256 << 20
)

// validate names every field that is wrong.
func (s *PacketServer) validate() error {
	var errs []error
	if s.Handler == nil {
		errs = append(errs, errors.New("coserver: PacketServer.Handler is nil"))
	}
	if s.Carrier > Channel {
		errs = append(errs, fmt.Errorf("coserver: PacketServer.Carrier is %d, want Auto, Inline or Channel", s.Carrier))
	}
	if s.Carrier == Inline && !canInline {
		errs = append(errs, fmt.Errorf("coserver: PacketServer.Carrier is Inline: %w on this architecture", errors.ErrUnsupported))
	}
	if s.QueuePolicy > CutSlow {
		errs = append(errs, fmt.Errorf("coserver: PacketServer.QueuePolicy is %d, want DropNewest, DropOldest or CutSlow", s.QueuePolicy))
	}
	for _, field := range []struct {
		name  string
		value int
	}{
		{"MaxSessions", s.MaxSessions}, {"MaxWaiting", s.MaxWaiting}, {"MaxWaitingTotal", s.MaxWaitingTotal}, {"Sockets", s.Sockets},
		{"ReadBuffer", s.ReadBuffer}, {"WriteBuffer", s.WriteBuffer},
	} {
		if field.value < 0 {
			errs = append(errs, fmt.Errorf("coserver: PacketServer.%s is %d, want 0 or more", field.name, field.value))
		}
	}
	if s.MaxWaitingTotal > 0 && s.MaxWaitingTotal < smallestWaitingTotal {
		errs = append(errs, fmt.Errorf("coserver: PacketServer.MaxWaitingTotal is %d, want %d or more, so that one datagram has room",
			s.MaxWaitingTotal, smallestWaitingTotal))
	}
	return errors.Join(errs...)
}

func (s *PacketServer) inline() bool { return canInline && s.Carrier != Channel }

func (s *PacketServer) logger() *slog.Logger {
	if s.Logger != nil {
		return s.Logger
	}
	return slog.Default()
}

func orDefault[N int | time.Duration](value, otherwise N) N {
	if value == 0 {
		return otherwise
	}
	return value
}

// PacketListener is a bound address of a [PacketServer]. Its methods are safe from any goroutine.
type PacketListener struct {
	run   *packetRun
	addr  net.Addr
	bound []loop.Packets // until Serve; protected by run.mu, as taken is
	taken bool
}

// Addr returns the address that it is bound to, with the port that was chosen for port 0.
func (ln *PacketListener) Addr() net.Addr { return ln.addr }

// Listen binds an address, and thereby starts the server if it is not started. network is "udp", "udp4" or "udp6", and address is as in
// net.ListenPacket. Datagrams wait in the kernel from now on and are served from [PacketServer.Serve] on. Errors are those of net.ListenPacket,
// or name the fields of s that are wrong, or are ErrServerClosed while a Shutdown is under way.
func (s *PacketServer) Listen(network, address string) (*PacketListener, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.run
	if r == nil {
		var err error
		if r, err = newPacketRun(s); err != nil {
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

// Serve serves what comes to ln until Shutdown or Close, and returns ErrServerClosed when that has done its work: after it the program may end. ln is
// what Listen has returned, and can be served once: then it fails with net.ErrClosed.
func (s *PacketServer) Serve(ln *PacketListener) error {
	if ln.run.server != s {
		return &net.OpError{Op: "serve", Net: ln.addr.Network(), Addr: ln.addr, Err: errors.New("coserver: a listener of another PacketServer")}
	}
	if err := ln.run.serve(ln); err != nil && !ln.run.drained.Load() {
		return err
	}
	<-ln.run.over
	return ErrServerClosed
}

// ListenAndServe is Listen and then Serve.
func (s *PacketServer) ListenAndServe(network, address string) error {
	ln, err := s.Listen(network, address)
	if err != nil {
		return err
	}
	return s.Serve(ln)
}

// Addr returns the address of the first listener, or nil if there is none.
func (s *PacketServer) Addr() net.Addr {
	r := s.current()
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.listeners) == 0 {
		return nil
	}
	return r.listeners[0].addr
}

// Shutdown ends the server in order: nothing is received any more; sessions whose handlers wait for a datagram are closed, now or when they come
// to wait, after what waits for them has been read; the others finish, and are told by their [PacketSession.ServerContext]. It returns nil when the last handler
// has returned and its answers are sent; the address is free then, and not before: it is what the answers come from. If ctx is done first, it closes what is left, as
// Close does, and returns the error of ctx; if somebody else has done so meanwhile, ErrServerClosed. It is safe from any goroutine, any number of times.
//
// A handler of the server's may call it too, on its own goroutine: then it returns when all handlers have that do not wait in Shutdown themselves,
// and the server ends when these have returned as well. On a server that is not started Shutdown does nothing.
func (s *PacketServer) Shutdown(ctx context.Context) error {
	r := s.current()
	if r == nil {
		return nil
	}
	if r.end() {
		go r.finishWhenIdle(r.finish)
	}
	r.drain()
	err := r.await(ctx, r.isHandler())
	if err != nil {
		r.force()
	}
	return err
}

// Close ends the server at once: sockets and sessions are closed, and the calls of handlers fail with net.ErrClosed. It does not wait for the
// handlers, and a Shutdown that does waits no longer. It is safe from any goroutine, also from a handler, any number of times. On a server that is
// not started it does nothing.
func (s *PacketServer) Close() error {
	if r := s.current(); r != nil {
		r.end()
		r.force()
	}
	return nil
}

func (s *PacketServer) current() *packetRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run
}

// ended forgets a life that is over, so that the next Listen begins another.
func (s *PacketServer) ended(r *packetRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == r {
		s.run = nil
	}
}

// report passes on what ended a session.
func (s *PacketServer) report(session *PacketSession, err error, kind int) {
	if s.OnError != nil {
		s.OnError(session, err)
		return
	}
	dropped, ok := s.logs[kind].take(time.Now())
	if !ok {
		return
	}
	attrs := []any{slog.String("local", session.LocalAddr().String()), slog.String("remote", session.RemoteAddr().String()), slog.Any("error", err)}
	s.logger().Error("session ended", append(attrs, failureAttrs(err, dropped)...)...)
}
