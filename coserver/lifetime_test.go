package coserver_test

import (
	"context"
	"net"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// faults.md F6: a handler that returns without Close has closed. Whoever kept the connection is told so, and when nobody
// does it is garbage.
func TestConnOutlivesItsHandler(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		kept := make(chan *coserver.Conn, 1)
		engine := newEngine(t, coserver.EngineConfig{Loops: 1})
		addr := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			kept <- c
			return nil
		}}, "tcp")
		before := leak.Descriptors()
		client := dial(t, addr)
		expectEOF(t, client)
		c := receive(t, kept)
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = c.Write([]byte("late"))
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, c.SetDeadline(time.Time{}), net.ErrClosed)
		require.ErrorIs(t, c.Close(), net.ErrClosed)
		require.NoError(t, client.Close())
		eventually(t, func() bool { return len(leak.Since(before)) == 0 }, "a descriptor is left")

		garbage := weak.Make(c)
		c = nil
		// The loop looks back at whom it served last until it serves another.
		other := dial(t, addr)
		expectEOF(t, other)
		receive(t, kept)
		eventually(t, func() bool { runtime.GC(); return garbage.Value() == nil }, "the connection is still held")
	})
}

// faults.md F11: handlers that wait for ever cost a parked goroutine each, and Shutdown does not wait for them beyond its
// deadline.
func TestManyHandlersThatWaitForEver(t *testing.T) {
	const count, others = 2000, 50
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		leak.Check(t)
		waiting := make(chan struct{}, count)
		s := &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if _, err := c.Peek(1); err != nil {
				return err
			}
			waiting <- struct{}{} // it is in the middle of a request, so Shutdown does not end it gently
			_, err := c.ReadSlice('\n')
			return err
		}}
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		before := runtime.NumGoroutine()
		for range count {
			c, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Write([]byte("x"))
			require.NoError(t, err)
		}
		for range count {
			receive(t, waiting)
		}
		require.LessOrEqual(t, runtime.NumGoroutine()-before, count+others)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begin := time.Now()
		require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
		require.Less(t, time.Since(begin), patience/4)
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
		eventually(t, func() bool { return runtime.NumGoroutine() <= before+others }, "handlers are left")
	})
}

// Whoever comes to wait on a connection that somebody else has just closed learns of it, also if what is left of it in the kernel is
// waited for already.
func TestCloseBeforeAWait(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		conns, ended := make(chan *coserver.Conn, 1), make(chan struct{}, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			conns <- c
			err := echoNext(c)
			ended <- struct{}{}
			return err
		}}, "tcp")
		for range 300 {
			client := dial(t, addr)
			exchange(t, client, "x") // the handler is on its way to wait for more
			require.NoError(t, receive(t, conns).Close())
			receive(t, ended)
			require.NoError(t, client.Close())
		}
	})
}
