package coserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// Retire: nobody gets in any more, and nobody is put out; idle connections are left alone.
func TestRetire(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		leak.Check(t)
		s := &coserver.Server{Carrier: carrier, Handler: echoNext}
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		silent, idle := dial(t, ln.Addr()), dial(t, ln.Addr())
		exchange(t, idle, "before")
		exchange(t, silent, "accepted")

		retired := make(chan error, 2)
		for range cap(retired) {
			go func() { retired <- s.Retire(t.Context()) }()
		}
		refused(t, ln.Addr())
		_, err = s.Listen("tcp", "127.0.0.1:0")
		require.ErrorIs(t, err, coserver.ErrServerClosed)
		exchange(t, idle, "during")
		require.NoError(t, idle.Close())
		exchange(t, silent, "still there")
		require.Empty(t, retired)
		require.Empty(t, served)

		require.NoError(t, silent.Close())
		for range cap(retired) {
			require.NoError(t, receive(t, retired))
		}
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
		require.NoError(t, s.Retire(t.Context()))
	})
}

// refused waits until new clients are.
func refused(t *testing.T, addr net.Addr) {
	t.Helper()
	eventually(t, func() bool {
		c, err := net.Dial(addr.Network(), addr.String())
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, "new clients are refused")
}

// What is left when the time is over goes on, until Shutdown.
func TestRetireGivesUp(t *testing.T) {
	leak.Check(t)
	s := &coserver.Server{Handler: echoNext}
	ln, err := s.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	c := dial(t, ln.Addr())
	exchange(t, c, "before")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Retire(ctx), context.DeadlineExceeded)
	exchange(t, c, "after")
	require.NoError(t, s.Shutdown(t.Context()))
	expectEOF(t, c)
	require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
}

// A handler may retire its own server: it goes on when all others have returned.
func TestRetireFromAHandler(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		leak.Check(t)
		s := &coserver.Server{Carrier: carrier}
		results := make(chan error, 1)
		s.Handler = func(c *coserver.Conn) error {
			line, err := c.ReadSlice('\n')
			if err != nil || string(line) != "stop\n" {
				_, _ = c.Write(line)
				return echoLine(c)
			}
			results <- s.Retire(context.Background())
			_, err = c.Write([]byte("stopped"))
			return err
		}
		addr, served := startServing(t, s)
		other, stopper := dial(t, addr), dial(t, addr)
		exchange(t, other, "before\n")
		_, err := io.WriteString(stopper, "stop\n")
		require.NoError(t, err)
		refused(t, addr)
		exchange(t, other, "left alone\n")
		require.Empty(t, results)
		require.NoError(t, other.Close())
		require.NoError(t, receive(t, results))
		all, err := io.ReadAll(stopper)
		require.NoError(t, err)
		require.Equal(t, "stopped", string(all))
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
}

// Retire at odd times: before Serve, beside Shutdown and Close, and before the server is started again.
func TestRetireAtOddTimes(t *testing.T) {
	leak.Check(t)
	s := &coserver.Server{Handler: echoNext}
	require.NoError(t, s.Retire(t.Context())) // not started
	for _, end := range []func(context.Context) error{s.Retire, s.Shutdown, func(context.Context) error { return s.Close() }} {
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, s.Retire(t.Context()))
		require.ErrorIs(t, s.Serve(ln), coserver.ErrServerClosed)

		addr, served := startServing(t, s)
		c := dial(t, addr)
		exchange(t, c, "hello")
		retired := make(chan error, 1)
		go func() { retired <- s.Retire(context.Background()) }()
		refused(t, addr)
		_, err = s.Listen("tcp", "127.0.0.1:0")
		require.ErrorIs(t, err, coserver.ErrServerClosed)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		err = end(ctx) // Retire gives up; Shutdown ends c, which is idle; Close ends it too
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			exchange(t, c, "still there")
			require.NoError(t, c.Close())
		}
		if err = receive(t, retired); err != nil {
			require.ErrorIs(t, err, coserver.ErrServerClosed)
		}
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	}
}

// successor is another listener on the same socket, as another process has it.
func successor(t *testing.T, ln net.Listener) net.Listener {
	t.Helper()
	file, err := ln.(interface{ File() (*os.File, error) }).File()
	require.NoError(t, err)
	defer file.Close()
	next, err := net.FileListener(file)
	require.NoError(t, err)
	return next
}

// generation is a server that can be retired: of handlers, or of Accept.
type generation interface {
	serve()
	retire(ctx context.Context) error
}

type handlers struct {
	server *coserver.Server
	ln     net.Listener
}

func (g *handlers) serve()                           { g.server.Serve(g.ln) }
func (g *handlers) retire(ctx context.Context) error { return g.server.Retire(ctx) }

type acceptor struct {
	ln    *coserver.Listener
	conns sync.WaitGroup
	ended chan struct{}
}

func (g *acceptor) serve() {
	defer close(g.ended)
	for {
		c, err := g.ln.Accept()
		if err != nil {
			return
		}
		g.conns.Go(func() {
			io.Copy(c, c)
			c.Close()
		})
	}
}

func (g *acceptor) retire(context.Context) error {
	err := g.ln.Retire()
	<-g.ended
	g.conns.Wait()
	return errors.Join(err, g.ln.Close())
}

// While one server after the other takes a socket over, no client is refused or cut, at whatever moment it comes.
func TestRetireLosesNobody(t *testing.T) {
	server := func(carrier coserver.Carrier) func(*testing.T, net.Listener) generation {
		return func(t *testing.T, ln net.Listener) generation {
			s := &coserver.Server{Carrier: carrier, Handler: echoNext}
			adopted, err := s.Adopt(ln)
			require.NoError(t, err)
			return &handlers{s, adopted}
		}
	}
	starts := map[string]func(t *testing.T, ln net.Listener) generation{
		"inline":  server(coserver.Inline),
		"channel": server(coserver.Channel),
		"accept": func(t *testing.T, ln net.Listener) generation {
			adopted, err := coserver.Adopt(ln)
			require.NoError(t, err)
			return &acceptor{ln: adopted, ended: make(chan struct{})}
		},
	}
	for _, name := range []string{"tcp inline", "tcp channel", "tcp accept", "unix inline", "unix channel", "unix accept"} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			network, kind, _ := strings.Cut(name, " ")
			start := starts[kind]
			ln, err := net.Listen(network, address(t, network))
			require.NoError(t, err)
			if ln, ok := ln.(*net.UnixListener); ok {
				ln.SetUnlinkOnClose(false)
			}
			addr := ln.Addr()
			var over atomic.Bool
			var visits atomic.Int64
			var clients, servers sync.WaitGroup
			for range 4 {
				clients.Go(func() {
					for !over.Load() {
						visits.Add(1)
						if err := visit(addr); err != nil {
							t.Errorf("visit %d: %v", visits.Load(), err)
							over.Store(true)
						}
					}
				})
			}
			for range 20 {
				next := successor(t, ln)
				g := start(t, ln)
				servers.Go(g.serve)
				target := visits.Load() + 5
				eventually(t, func() bool { return visits.Load() > target || over.Load() }, "clients come")
				servers.Go(func() {
					if err := g.retire(t.Context()); err != nil {
						t.Error(err)
					}
				})
				ln = next
			}
			last := start(t, ln)
			servers.Go(last.serve)
			over.Store(true)
			clients.Wait()
			require.NoError(t, last.retire(t.Context()))
			servers.Wait()
		})
	}
}

// A connection that has been accepted and is on its way to a loop that is busy counts as one.
func TestRetireWaitsForWhatIsOnItsWay(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 2})
	s := &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: echoNext}
	ln, err := s.Listen("tcp", "127.0.0.1:0") // of loop 0
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()

	busy, blocked := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(blocked) })
	t.Cleanup(release)
	dial(t, start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(*coserver.Conn) error {
		close(busy)
		<-blocked
		return nil
	}}, "tcp")) // of loop 1
	receive(t, busy)

	var others []net.Conn // on loop 0, each: that has as many as loop 1, or fewer
	join := func() {
		c := dial(t, ln.Addr())
		exchange(t, c, "hello")
		others = append(others, c)
	}
	join()
	join()
	late := dial(t, ln.Addr()) // to loop 1
	join()                     // which is accepted after it
	for _, c := range others {
		require.NoError(t, c.Close())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Retire(ctx), context.DeadlineExceeded)
	release()
	exchange(t, late, "not forgotten")
	require.NoError(t, late.Close())
	require.NoError(t, s.Retire(t.Context()))
	require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
}

// visit connects, exchanges some bytes twice and ends.
func visit(addr net.Addr) error {
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	for range 2 {
		if _, err := io.WriteString(c, "hello"); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			return err
		}
	}
	return nil
}

// Connections that have come and that nobody has accepted are given out after Retire; then Accept fails.
func TestRetiredListenerGivesOutWhatHasCome(t *testing.T) {
	leak.Check(t)
	original, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	next := successor(t, original)
	defer next.Close()
	ln, err := coserver.Adopt(original)
	require.NoError(t, err)
	first := dial(t, ln.Addr())
	c, err := ln.Accept() // from now on it takes what comes
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, first.Close())
	const count = 20
	for range count {
		dial(t, ln.Addr())
	}
	require.NoError(t, ln.Retire())
	require.ErrorIs(t, ln.Retire(), net.ErrClosed)
	accepted := 0
	for {
		c, err := ln.Accept()
		if err != nil {
			require.ErrorIs(t, err, net.ErrClosed)
			break
		}
		accepted++
		require.NoError(t, c.Close())
	}
	for ; accepted < count; accepted++ { // the others are the successor's
		require.NoError(t, next.(*net.TCPListener).SetDeadline(time.Now().Add(patience)))
		c, err := next.Accept()
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	require.NoError(t, ln.Close())
	require.ErrorIs(t, ln.Close(), net.ErrClosed)
}

// Retire wakes those that wait in Accept.
func TestRetireWakesAccept(t *testing.T) {
	leak.Check(t)
	ln, err := coserver.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	results := make(chan error, 5)
	for range cap(results) {
		go func() {
			_, err := ln.Accept()
			results <- err
		}()
	}
	require.NoError(t, ln.Retire())
	for range cap(results) {
		require.ErrorIs(t, receive(t, results), net.ErrClosed)
	}
	require.NoError(t, ln.Close())
}

// A listener from elsewhere has not the options that connections are to have; what it accepts has them all the same.
func TestAdoptedListenerSetsNoDelay(t *testing.T) {
	leak.Check(t)
	original, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln, err := coserver.Adopt(original)
	require.NoError(t, err)
	defer ln.Close()
	dial(t, ln.Addr())
	c, err := ln.Accept()
	require.NoError(t, err)
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	for option, level := range map[int]int{syscall.TCP_NODELAY: syscall.IPPROTO_TCP, syscall.SO_KEEPALIVE: syscall.SOL_SOCKET} {
		var value int
		require.NoError(t, raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, option) }))
		require.NoError(t, err)
		require.Equal(t, 1, value)
	}
}
