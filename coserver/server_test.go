package coserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

func TestServerIsValidated(t *testing.T) {
	var s coserver.Server
	_, err := s.Listen("tcp", "127.0.0.1:0")
	require.ErrorContains(t, err, "Server.Handler")
	s.Handler = echoNext
	s.Carrier = 99
	_, err = s.Listen("tcp", "127.0.0.1:0")
	require.ErrorContains(t, err, "Server.Carrier")
	_, err = coserver.NewEngine(coserver.EngineConfig{Loops: -1})
	require.ErrorContains(t, err, "Loops")
	_, err = coserver.NewEngine(coserver.EngineConfig{MaxGoroutines: -1})
	require.ErrorContains(t, err, "MaxGoroutines")
}

func TestListenErrors(t *testing.T) {
	addr := start(t, &coserver.Server{Handler: echoNext}, "tcp")
	s := &coserver.Server{Handler: echoNext}
	require.ErrorIs(t, s.ListenAndServe("tcp", addr.String()), syscall.EADDRINUSE)
	require.Nil(t, s.Addr())
	require.NoError(t, s.Close())
	require.NoError(t, s.Shutdown(t.Context()))
}

// swoole_server_coro/random_port: the port is known before the server serves.
func TestPortZeroIsKnownBeforeServe(t *testing.T) {
	s := &coserver.Server{Handler: echoNext}
	ln, err := s.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NotZero(t, ln.Addr().(*net.TCPAddr).Port)
	require.Equal(t, ln.Addr(), s.Addr())
	c := dial(t, ln.Addr()) // waits in the backlog
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	exchange(t, c, "served in the end")
	require.NoError(t, s.Close())
	require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	require.ErrorIs(t, s.Serve(ln), coserver.ErrServerClosed)
}

// A handler that falls ends its connection, is reported, and hurts nobody else.
func TestFallingHandlers(t *testing.T) {
	falls := map[string]struct {
		fall func() error
		want error
	}{
		"panic":  {func() error { panic(errTest) }, errTest},
		"Goexit": {func() error { runtime.Goexit(); return nil }, coserver.ErrHandlerExited},
		"error":  {func() error { return errTest }, errTest},
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, test := range falls {
			for _, when := range []string{"at once", "after waiting"} {
				t.Run(name+" "+when, func(t *testing.T) {
					engine := newEngine(t, coserver.EngineConfig{Loops: 1})
					reports := make(chan error, 10)
					falling := start(t, &coserver.Server{
						Engine: engine, Carrier: carrier,
						OnError: func(_ *coserver.Conn, err error) { reports <- err },
						Handler: func(c *coserver.Conn) error {
							if when != "at once" {
								if _, err := c.Next(); err != nil {
									return err
								}
							}
							return test.fall()
						},
					}, "tcp")
					other := dial(t, start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: echoNext}, "tcp"))
					exchange(t, other, "before")
					for range 5 {
						c := dial(t, falling)
						io.WriteString(c, "x")
						expectEnd(t, c)
						err := receive(t, reports)
						require.ErrorIs(t, err, test.want)
						var panicked *coserver.PanicError
						require.Equal(t, name == "panic", errors.As(err, &panicked))
						if panicked != nil {
							require.Contains(t, string(panicked.Stack), "TestFallingHandlers")
						}
						exchange(t, other, "unhurt")
					}
				})
			}
		}
	})
}

// The end of a connection is no error of its handler's.
func TestConnectionErrorsAreNotReported(t *testing.T) {
	reports := make(chan error, 10)
	ended := make(chan struct{}, 10)
	addr := start(t, &coserver.Server{
		OnError: func(_ *coserver.Conn, err error) { reports <- err },
		Handler: func(c *coserver.Conn) error {
			defer func() { ended <- struct{}{} }()
			return echoNext(c)
		},
	}, "tcp")
	polite := dial(t, addr)
	exchange(t, polite, "x")
	polite.Close()
	rude := dial(t, addr)
	exchange(t, rude, "x")
	rude.(*net.TCPConn).SetLinger(0)
	rude.Close()
	for range 2 {
		receive(t, ended)
	}
	require.Empty(t, reports)
}

// echoBegun is echoLine, and says when a line that begins with "tw" has begun to come.
func echoBegun(begun chan<- struct{}) func(*coserver.Conn) error {
	return func(c *coserver.Conn) error {
		for {
			head, err := c.Peek(2)
			if err != nil {
				return err
			}
			if string(head) == "tw" {
				begun <- struct{}{}
			}
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			if _, err := c.Write(line); err != nil {
				return err
			}
		}
	}
}

// Shutdown: new clients are refused, idle connections end, busy ones finish, and Serve returns only then.
// swoole_http_server_coro/graceful_shutdown.
func TestShutdown(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		begun := make(chan struct{}, 1)
		s := &coserver.Server{Engine: newEngine(t, coserver.EngineConfig{}), Carrier: carrier, Handler: echoBegun(begun)}
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		idle, busy := dial(t, ln.Addr()), dial(t, ln.Addr())
		exchange(t, idle, "idle\n")
		exchange(t, busy, "one\n")
		_, err = io.WriteString(busy, "tw") // a request has begun
		require.NoError(t, err)
		receive(t, begun)

		down := make(chan error, 1)
		go func() { down <- s.Shutdown(t.Context()) }()
		expectEOF(t, idle)
		_, err = net.Dial("tcp", ln.Addr().String())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.Empty(t, down)
		require.Empty(t, served)

		_, err = io.WriteString(busy, "o\n")
		require.NoError(t, err)
		got := make([]byte, 4)
		_, err = io.ReadFull(busy, got)
		require.NoError(t, err)
		require.Equal(t, "two\n", string(got))
		expectEOF(t, busy)
		require.NoError(t, receive(t, down))
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
}

func TestShutdownForcesAtTheDeadline(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		begun := make(chan struct{}, 1)
		s := &coserver.Server{Engine: newEngine(t, coserver.EngineConfig{}), Carrier: carrier, Handler: echoBegun(begun)}
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		busy := dial(t, ln.Addr())
		exchange(t, busy, "one\n")
		_, err = io.WriteString(busy, "tw")
		require.NoError(t, err)
		receive(t, begun)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
		expectEnd(t, busy)
		require.NoError(t, s.Shutdown(t.Context()))
	})
}

// swoole_http_server_coro/restart: the same Server serves again after Shutdown, on the same port.
func TestRestart(t *testing.T) {
	s := &coserver.Server{Handler: echoNext}
	address := "127.0.0.1:0"
	for range 5 {
		ln, err := s.Listen("tcp", address)
		require.NoError(t, err)
		address = ln.Addr().String()
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		exchange(t, dial(t, ln.Addr()), "hello")
		require.NoError(t, s.Shutdown(t.Context()))
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	}
}

// Shutdown and Close may come from anywhere, any number of times, also from a handler; faults.md S4.
func TestShutdownFromEverywhere(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier}
		s.Handler = func(c *coserver.Conn) error {
			if _, err := c.Next(); err != nil {
				return err
			}
			return s.Close()
		}
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		c := dial(t, ln.Addr())
		io.WriteString(c, "stop")
		expectEnd(t, c)
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { s.Close() })
			all.Go(func() { s.Shutdown(t.Context()) })
		}
		all.Wait()
	})
}

// A connection that is accepted while the server ends is neither forgotten nor served afterwards; faults.md S2.
func TestShutdownUnderAStorm(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for range 20 {
			s := &coserver.Server{Carrier: carrier, Handler: echoNext}
			ln, err := s.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- s.Serve(ln) }()
			var clients sync.WaitGroup
			var over atomic.Bool // or they would go on with whoever listens there next
			first := make(chan struct{}, 8)
			for range 8 {
				clients.Go(func() {
					for !over.Load() {
						c, err := net.Dial("tcp", ln.Addr().String())
						if err != nil {
							return
						}
						c.SetDeadline(time.Now().Add(patience))
						c.Write([]byte("x"))
						if _, err := c.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) {
							t.Error("a connection was forgotten")
						}
						c.Close()
						select {
						case first <- struct{}{}:
						default:
						}
					}
				})
			}
			receive(t, first)
			require.NoError(t, s.Shutdown(t.Context()))
			over.Store(true)
			require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
			clients.Wait()
		}
	})
}

// Servers come and go on one engine while others run.
func TestServersShareAnEngine(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{})
	steady := dial(t, start(t, &coserver.Server{Engine: engine, Handler: echoNext}, "tcp"))
	for range 20 {
		s := &coserver.Server{Engine: engine, Handler: echoRead}
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		exchange(t, dial(t, ln.Addr()), "passing")
		exchange(t, steady, "steady")
		require.NoError(t, s.Close())
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	}
}

// More connections than goroutines are allowed are closed and reported, and the others go on.
func TestMaxGoroutines(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{MaxGoroutines: 2})
	reports := make(chan error, 1)
	addr := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Channel, Handler: echoNext,
		OnError: func(_ *coserver.Conn, err error) { reports <- err }}, "tcp")
	one, two := dial(t, addr), dial(t, addr)
	exchange(t, one, "one")
	exchange(t, two, "two")
	expectEnd(t, dial(t, addr))
	require.ErrorIs(t, receive(t, reports), coserver.ErrTooManyGoroutines)
	exchange(t, one, "goes on")
}
