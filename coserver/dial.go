package coserver

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/strand-net/strand/loop"
)

// Dialer connects to an address. Its fields mean what those of net.Dialer mean; the zero value is ready to use. Its methods
// are safe from any goroutine; they park the handler that calls them and hold up nothing else.
type Dialer struct {
	// Timeout and Deadline limit a dial in all, however many addresses a name has. The earlier counts; 0 means none.
	Timeout  time.Duration
	Deadline time.Time

	// LocalAddr is the address to connect from, a *net.TCPAddr or a *net.UnixAddr. nil lets the kernel choose.
	LocalAddr net.Addr

	// FallbackDelay is how long to wait for a connection by IPv6 before IPv4 is tried beside it, if a name has addresses of
	// both and the network is "tcp" (RFC 8305; which family comes first is the resolver's choice). 0 means 300 ms; a
	// negative value tries one after the other.
	FallbackDelay time.Duration

	// Resolver looks names up. nil means net.DefaultResolver.
	Resolver *net.Resolver

	// Engine runs the connections. nil means the engine of the handler that dials, if a loop carries that one: on the same
	// loop, so that neither waits for another thread. For everybody else it means one that all Listen and Dial share, and
	// that runs as long as there is anything on it.
	Engine *Engine
}

// Dial connects to an address with the zero Dialer.
func Dial(network, address string) (net.Conn, error) {
	return new(Dialer).Dial(network, address)
}

// Dial is DialContext without a limit of the caller's own.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects to an address: network is "tcp", "tcp4", "tcp6" or "unix", and address is as in net.Dial. The
// connection is a [*Conn], and ends with its Close; when ctx ends later, it goes on. Errors are *net.OpError, as those of
// net.Dialer: when ctx or another limit ends the dial, Timeout reports whether by time.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, network, address string) (*Conn, error) {
	if deadline := d.deadline(time.Now()); !deadline.IsZero() {
		limited, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		ctx = limited
	}
	a, err := d.begin(network)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Err: err}
	}
	defer a.engine.release()
	remotes, err := a.resolve(ctx, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Err: reason(ctx, err)}
	}
	primaries, fallbacks := remotes, []net.Addr(nil)
	if network == "tcp" && d.FallbackDelay >= 0 {
		primaries, fallbacks = byFamily(remotes)
	}
	if len(fallbacks) == 0 {
		return a.each(ctx, primaries)
	}
	return a.race(ctx, primaries, fallbacks)
}

// deadline returns the earlier of the Dialer's own limits, or the zero Time.
func (d *Dialer) deadline(now time.Time) time.Time {
	deadline := d.Deadline
	if d.Timeout != 0 {
		if limit := now.Add(d.Timeout); deadline.IsZero() || limit.Before(deadline) {
			deadline = limit
		}
	}
	return deadline
}

// dialing is one Dial in progress.
type dialing struct {
	*Dialer
	network string
	engine  *Engine
	task    *task // the caller, if a loop carries it
}

func (d *Dialer) begin(network string) (*dialing, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return nil, net.UnknownNetworkError(network)
	}
	a := &dialing{Dialer: d, network: network, engine: d.Engine, task: currentTask()}
	if a.engine == nil && a.task != nil {
		a.engine = a.task.reactor.engine
	}
	if a.engine == nil {
		engine, err := leaseShared()
		if err != nil {
			return nil, err
		}
		a.engine = engine
		return a, nil
	}
	a.engine.lease() // until the dial is over
	return a, nil
}

// minAttempt is the least time that an address gets, unless the whole dial has less.
const minAttempt = 2 * time.Second

// each tries one address after the other, and fails with the error of the first.
func (a *dialing) each(ctx context.Context, remotes []net.Addr) (*Conn, error) {
	var first error
	for i, remote := range remotes {
		c, err := a.within(ctx, share(ctx, len(remotes)-i), remote)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// share divides what is left of the time among the addresses that are left. 0 means that there is no limit.
func share(ctx context.Context, addresses int) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || addresses <= 1 {
		return 0
	}
	return max(time.Until(deadline)/time.Duration(addresses), minAttempt)
}

func (a *dialing) within(ctx context.Context, limit time.Duration, remote net.Addr) (*Conn, error) {
	if limit > 0 {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		ctx = limited
	}
	c, err := a.connect(ctx, remote)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: a.network, Source: a.LocalAddr, Addr: remote, Err: reason(ctx, err)}
	}
	return c, nil
}

// maxSelfConnects is how often a dial that met itself is repeated.
const maxSelfConnects = 3

// connect makes a connection to one address.
func (a *dialing) connect(ctx context.Context, remote net.Addr) (*Conn, error) {
	for again := 0; ; again++ {
		c, err := a.attempt(ctx, remote)
		if err != nil || !a.isSelf(c) || again == maxSelfConnects {
			return c, err
		}
		c.shut(net.ErrClosed)
	}
}

// isSelf reports whether c is connected to itself: the kernel may choose, as the local port, the very port on this machine
// that is dialled and that nobody listens on (RFC 9293, 3.5, simultaneous open).
func (a *dialing) isSelf(c *Conn) bool {
	local, ok := c.local.(*net.TCPAddr)
	return ok && a.LocalAddr == nil && local.AddrPort() == c.sock.Peer()
}

func (a *dialing) attempt(ctx context.Context, remote net.Addr) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &Conn{run: &a.engine.dialled, network: networkOf(a.network)}
	if err := a.start(c, remote); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.shut(context.Cause(ctx)) }) // which wakes the wait below
	err := c.connected()
	if !stop() && err == nil {
		err = net.ErrClosed
	}
	if err != nil {
		c.shut(err)
		return nil, err
	}
	c.local = a.localAddr(c, remote)
	return c, nil
}

func (a *dialing) localAddr(c *Conn, remote net.Addr) net.Addr {
	if _, ok := remote.(*net.UnixAddr); ok {
		if local, ok := a.LocalAddr.(*net.UnixAddr); ok && local.Name != "" {
			return local
		}
		return unnamed
	}
	return net.TCPAddrFromAddrPort(c.sock.LocalAddr())
}

// start gives c a socket that is connecting: on the loop of the caller, if it is one of the engine.
func (a *dialing) start(c *Conn, remote net.Addr) error {
	s := &starting{dialing: a, conn: c, remote: remote}
	if t := a.task; t != nil && t.reactor.engine == a.engine {
		s.loop = t.reactor.loop
		if s.loop.Pin(t.visit) {
			s.begin()
			s.loop.Unpin(t.visit)
			return s.err
		}
	} else {
		s.loop = a.engine.loops.Choose()
	}
	s.done = new(notice)
	if !s.loop.Post(s) {
		return loop.ErrEngineClosed
	}
	s.done.wait()
	return s.err
}

// starting is a connection on its way to its loop.
type starting struct {
	*dialing
	conn   *Conn
	remote net.Addr
	loop   *loop.Loop
	err    error
	done   *notice
}

func (s *starting) RunOnLoop() {
	s.begin()
	s.done.give()
}

func (s *starting) begin() {
	c := s.conn
	if s.err = s.loop.Connect(&c.sock, s.LocalAddr, s.remote, c); s.err != nil {
		return
	}
	c.run.add(c)
	c.unserve()
	if path, ok := s.remote.(*net.UnixAddr); ok {
		c.extras().remote = path
	}
}

// connected waits until the attempt is over.
func (c *Conn) connected() error {
	if err := c.lock(loop.WriteSide); err != nil {
		return err
	}
	defer c.unlock(loop.WriteSide)
	for {
		c.sock.Take(loop.WriteSide) // what it was ready for is what Connected tells
		err := c.sock.Connected()
		if !errors.Is(err, loop.ErrNotReady) {
			return err
		}
		if _, err := c.wait(loop.WriteSide); err != nil {
			return err
		}
	}
}

// reason says why a dial failed: because of its limits, if they have ended it.
func reason(ctx context.Context, err error) error {
	switch ctx.Err() {
	case context.DeadlineExceeded:
		return errDialTimeout
	case context.Canceled:
		return errCanceled
	}
	return err
}

// A dial that was given up says so in the words of package net, and matches the errors of package context as well.
var (
	errDialTimeout = &interrupted{text: "i/o timeout", timeout: true, is: []error{context.DeadlineExceeded, os.ErrDeadlineExceeded}}
	errCanceled    = &interrupted{text: "operation was canceled", is: []error{context.Canceled}}
)

type interrupted struct {
	text    string
	timeout bool
	is      []error
}

func (e *interrupted) Error() string   { return e.text }
func (e *interrupted) Timeout() bool   { return e.timeout }
func (e *interrupted) Temporary() bool { return e.timeout }
func (e *interrupted) Unwrap() []error { return e.is }
