package coserver_test

import (
	"context"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/pollertest/steady"
)

// startServing is start for a test that ends the server itself. served gets what Serve returns.
func startServing(t *testing.T, s *coserver.Server) (addr net.Addr, served <-chan error) {
	t.Helper()
	ln, err := s.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	result := make(chan error, 1)
	go func() { result <- s.Serve(ln) }()
	return ln.Addr(), result
}

// faults.md S4: a handler shuts its own server down. The others finish before it goes on, and then it can still answer.
func TestShutdownFromAHandler(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		leak.Check(t)
		begun, results := make(chan struct{}, 1), make(chan error, 2)
		echo := echoBegun(begun)
		s := &coserver.Server{Carrier: carrier}
		s.Handler = func(c *coserver.Conn) error {
			head, err := c.Peek(4)
			if err != nil || string(head) != "stop" {
				return echo(c)
			}
			err = s.Shutdown(context.Background())
			results <- err
			_, _ = c.Write([]byte("stopped"))
			return err
		}
		addr, served := startServing(t, s)
		idle, busy, stopper := dial(t, addr), dial(t, addr), dial(t, addr)
		exchange(t, idle, "idle\n")
		_, err := io.WriteString(busy, "two")
		require.NoError(t, err)
		_, err = io.WriteString(busy, "go") // four bytes, so that its handler is in echo
		require.NoError(t, err)
		receive(t, begun)
		_, err = io.WriteString(stopper, "stop")
		require.NoError(t, err)
		expectEOF(t, idle)
		require.Empty(t, results)
		_, err = io.WriteString(busy, "\n")
		require.NoError(t, err)
		answer := make([]byte, 6)
		_, err = io.ReadFull(busy, answer)
		require.NoError(t, err)
		require.Equal(t, "twogo\n", string(answer))
		require.NoError(t, receive(t, results))
		all, err := io.ReadAll(stopper)
		require.NoError(t, err)
		require.Equal(t, "stopped", string(all))
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
		require.NoError(t, s.Shutdown(t.Context()))
	})
}

// Handlers that all shut the server down do not wait for each other, and other goroutines wait for all of them.
func TestShutdownFromManyHandlers(t *testing.T) {
	const count = 20
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		leak.Check(t)
		begun, results := make(chan struct{}, count), make(chan error, count)
		s := &coserver.Server{Carrier: carrier}
		s.Handler = func(c *coserver.Conn) error {
			if _, err := c.Peek(1); err != nil {
				return err
			}
			begun <- struct{}{}
			if _, err := c.Peek(2); err != nil { // in the middle of a request, so that nobody else's Shutdown ends it
				return err
			}
			err := s.Shutdown(context.Background())
			results <- err
			return err
		}
		addr, served := startServing(t, s)
		var clients []net.Conn
		for range count {
			c := dial(t, addr)
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
			clients = append(clients, c)
		}
		for range count {
			receive(t, begun)
		}
		outside := make(chan error, 2)
		for range cap(outside) {
			go func() { outside <- s.Shutdown(context.Background()) }()
		}
		for _, c := range clients {
			_, err := c.Write([]byte("x"))
			require.NoError(t, err)
		}
		for range count {
			require.NoError(t, receive(t, results))
		}
		for range cap(outside) {
			require.NoError(t, receive(t, outside))
		}
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
}

// A handler that shuts down and is not waited for any longer than it wants.
func TestShutdownFromAHandlerForcesAtTheDeadline(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		leak.Check(t)
		begun, results := make(chan struct{}, 1), make(chan error, 1)
		echo := echoBegun(begun)
		s := &coserver.Server{Carrier: carrier}
		s.Handler = func(c *coserver.Conn) error {
			if head, err := c.Peek(2); err != nil || string(head) != "st" {
				return echo(c)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			results <- s.Shutdown(ctx)
			return nil
		}
		addr, served := startServing(t, s)
		busy := dial(t, addr)
		_, err := io.WriteString(busy, "tw")
		require.NoError(t, err)
		receive(t, begun)
		_, err = io.WriteString(dial(t, addr), "st")
		require.NoError(t, err)
		require.ErrorIs(t, receive(t, results), context.DeadlineExceeded)
		expectEnd(t, busy)
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
}

// faults.md S4: Close ends a Shutdown that waits for a handler, also one that does not look at its connection, and the server can be
// started again while that goes on.
func TestCloseEndsAShutdown(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		leak.Check(t)
		begun, over := make(chan struct{}, 1), make(chan struct{})
		s := &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if data, err := c.Next(); err != nil || string(data) != "stay" {
				_, err := c.Write(data)
				return err
			}
			begun <- struct{}{}
			<-over
			return nil
		}}
		addr, served := startServing(t, s)
		_, err := io.WriteString(dial(t, addr), "stay")
		require.NoError(t, err)
		receive(t, begun)
		down := make(chan error, 3)
		for range cap(down) {
			go func() { down <- s.Shutdown(context.Background()) }()
		}
		eventually(t, func() bool {
			c, err := net.Dial("tcp", addr.String())
			if err == nil {
				c.Close()
			}
			return err != nil
		}, "new clients are not refused")
		require.Empty(t, down)
		require.NoError(t, s.Close())
		for range cap(down) {
			// One that begins after Close has nothing to do.
			if err := receive(t, down); err != nil {
				require.ErrorIs(t, err, coserver.ErrServerClosed)
			}
		}
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
		again, served := startServing(t, s)
		exchange(t, dial(t, again), "again")
		close(over)
		require.NoError(t, s.Shutdown(t.Context()))
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
}

// faults.md S4: Close may be called where a loop tells of an error, and nothing waits for itself.
func TestCloseFromOnError(t *testing.T) {
	leak.Check(t)
	s := &coserver.Server{Handler: echoNext, TLSConfig: serverTLS()}
	closed := make(chan error, 100)
	s.OnError = func(*coserver.Conn, error) { closed <- s.Close() }
	addr, served := startServing(t, s)
	_, err := io.WriteString(dial(t, addr), "GET / HTTP/1.1\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, receive(t, closed))
	require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
}

// A connection that its handler has closed, and whose last output is on its way, is nothing to Shutdown, which waits for the handler.
func TestShutdownAfterAClose(t *testing.T) {
	for _, speaks := range []bool{false, true} {
		onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
			leak.Check(t)
			goOn, results := make(chan struct{}), make(chan bool, 1)
			s := &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
				if speaks {
					if _, err := c.Next(); err != nil { // it has waited once
						return err
					}
				}
				if err := c.Close(); err != nil {
					return err
				}
				woken := true
				err := coserver.Offload(func() { <-goOn; woken = false })
				results <- woken
				return err
			}}
			addr, served := startServing(t, s)
			client := dial(t, addr)
			if speaks {
				_, err := io.WriteString(client, "hello")
				require.NoError(t, err)
			}
			expectEOF(t, client)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			down := make(chan error, 1)
			go func() { down <- s.Shutdown(ctx) }()
			require.ErrorIs(t, receive(t, down), context.DeadlineExceeded)
			require.Empty(t, results)
			close(goOn)
			require.False(t, receive(t, results))
			require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
		})
	}
}

// A handler shuts another server down, whose handlers its own loop carries: that loop is not held up.
func TestShutdownOfAnotherServer(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		engine := newEngine(t, coserver.EngineConfig{Loops: 1})
		begun, results := make(chan struct{}, 1), make(chan error, 1)
		other := &coserver.Server{Engine: engine, Carrier: carrier, Handler: echoBegun(begun)}
		addr, served := startServing(t, other)
		busy := dial(t, addr)
		_, err := io.WriteString(busy, "tw")
		require.NoError(t, err)
		receive(t, begun)
		controlled := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if _, err := c.Next(); err != nil {
				return err
			}
			results <- other.Shutdown(c.Context())
			return nil
		}}, "tcp")
		_, err = io.WriteString(dial(t, controlled), "stop")
		require.NoError(t, err)
		eventually(t, func() bool {
			c, err := net.Dial("tcp", addr.String())
			if err == nil {
				c.Close()
			}
			return err != nil
		}, "new clients are not refused")
		_, err = io.WriteString(busy, "o\n")
		require.NoError(t, err)
		answer := make([]byte, 4)
		_, err = io.ReadFull(busy, answer)
		require.NoError(t, err)
		require.NoError(t, receive(t, results))
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
}

// faults.md S4: before Serve, after a Listen that failed, and again and again.
func TestShutdownAtOddTimes(t *testing.T) {
	leak.Check(t)
	s := &coserver.Server{Handler: echoNext}
	for range 3 {
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, err = s.Listen("tcp", ln.Addr().String())
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.NoError(t, s.Shutdown(t.Context()))
		require.NoError(t, s.Shutdown(t.Context()))
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Serve(ln), coserver.ErrServerClosed)
		_, err = s.Listen("tcp", "no address")
		require.Error(t, err)
		require.NoError(t, s.Shutdown(t.Context()))
	}
}

// faults.md S5: one of several addresses is in use. What is bound already can be given up, and nothing is left.
func TestSecondAddressInUse(t *testing.T) {
	leak.Check(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	s := &coserver.Server{Handler: echoNext}
	for range 100 {
		first, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, err = s.Listen("tcp", taken.Addr().String())
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.NoError(t, s.Close())
		again, err := net.Listen("tcp", first.Addr().String())
		require.NoError(t, err)
		require.NoError(t, again.Close())
	}
}

func TestRegisterOnShutdown(t *testing.T) {
	leak.Check(t)
	s := &coserver.Server{Handler: echoNext}
	called := make(chan int, 10)
	for i := range 2 {
		s.RegisterOnShutdown(func() {
			for s.Addr() != nil { // it may wait for the server
				time.Sleep(time.Millisecond)
			}
			called <- i
		})
	}
	_, served := startServing(t, s)
	require.NoError(t, s.Close()) // is not orderly
	require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	require.Empty(t, called)
	for range 2 {
		_, served := startServing(t, s)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { noError(t, s.Shutdown(t.Context())) })
		}
		all.Wait()
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
		require.ElementsMatch(t, []int{0, 1}, []int{receive(t, called), receive(t, called)})
		require.Empty(t, called)
	}
}

// Handlers that wait for something else than their connections can be told.
func TestRegisterOnShutdownTellsHandlers(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := &coserver.Server{Handler: func(c *coserver.Conn) error {
		coserver.Sleep(ctx, time.Hour)
		_, err := c.Write([]byte("bye"))
		return err
	}}
	s.RegisterOnShutdown(cancel)
	addr, served := startServing(t, s)
	client := dial(t, addr)
	eventually(t, func() bool { return s.Stats().Active == 1 }, "it is not served")
	require.NoError(t, s.Shutdown(t.Context()))
	all, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "bye", string(all))
	require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
}

// Handlers are told that their server ends, by Shutdown and by Close, in each of its lives.
func TestServerContext(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		leak.Check(t)
		causes := make(chan error, 1)
		s := &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			ctx := c.ServerContext()
			err := coserver.Sleep(ctx, time.Hour)
			causes <- context.Cause(ctx)
			_, _ = c.Write([]byte(err.Error()))
			return nil
		}}
		for range 2 {
			for _, end := range []func() error{func() error { return s.Shutdown(t.Context()) }, s.Close} {
				addr, served := startServing(t, s)
				client := dial(t, addr)
				eventually(t, func() bool { return s.Stats().Active == 1 }, "it is not served")
				require.Empty(t, causes)
				require.NoError(t, end())
				require.ErrorIs(t, receive(t, causes), coserver.ErrServerClosed)
				all, err := io.ReadAll(client)
				if err == nil && len(all) > 0 { // Close has not waited for it
					require.Equal(t, context.Canceled.Error(), string(all))
				}
				require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
				eventually(t, func() bool { return s.Stats().Active == 0 }, "a handler is left")
			}
		}
	})
	t.Run("no server", func(t *testing.T) {
		addr := start(t, &coserver.Server{Handler: echoNext}, "tcp")
		c, err := coserver.Dial("tcp", addr.String())
		require.NoError(t, err)
		require.Nil(t, c.(*coserver.Conn).ServerContext().Done())
		require.NoError(t, c.Close())
	})
}

// A server that is started and stopped again and again, in order and not, does not disturb another on the same engine, and leaves
// nothing.
func TestRestartsBesideAnother(t *testing.T) {
	rounds, restarts, clients, period, pause := 1, 24, 20, 2*time.Millisecond, time.Duration(0)
	if steady.Long() {
		rounds, restarts, clients, period, pause = 5, 40, 1000, 200*time.Millisecond, 50*time.Millisecond
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		engine := newEngine(t, coserver.EngineConfig{Loops: 2})
		other := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: echoRead}, "tcp")
		others := steady.Start(t, other, clients, period)
		s := &coserver.Server{Engine: engine, Carrier: carrier, Handler: echoNext, MaxConns: 10, IdleTimeout: time.Hour}
		restart := func(end func() error, ended func(*testing.T, net.Conn)) {
			addr, served := startServing(t, s)
			c := dial(t, addr)
			exchange(t, c, "passing")
			require.NoError(t, end())
			ended(t, c)
			require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
			eventually(t, func() bool { return s.Stats().Active == 0 }, "a handler is left")
			time.Sleep(pause) // for a rate that leaves the machine something to do
		}
		alone, disturbed := others.Compare(rounds, time.Duration(restarts)*(pause+2*time.Millisecond), func() {
			for range restarts / 2 {
				restart(func() error { return s.Shutdown(t.Context()) }, expectEOF)
				restart(s.Close, expectEnd)
			}
		})
		steady.Within(t, 1.2, alone, disturbed)
		require.EqualValues(t, rounds*restarts, s.Stats().Accepted)
	})
}
