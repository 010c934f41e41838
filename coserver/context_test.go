package coserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// However a connection ends, its context says why.
func TestContextCause(t *testing.T) {
	begun := make(chan struct{}, 1)
	wait := func(c *coserver.Conn) error { // as a handler does that calls a database with the context
		begun <- struct{}{}
		<-c.Context().Done()
		return nil
	}
	for name, c := range map[string]struct {
		handler func(c *coserver.Conn) error
		end     func(t *testing.T, s *coserver.Server, client *net.TCPConn)
		is      error
	}{
		"handler returned":   {handler: func(*coserver.Conn) error { return nil }, is: net.ErrClosed},
		"handler failed":     {handler: func(*coserver.Conn) error { return errTest }, is: errTest},
		"handler panicked":   {handler: func(*coserver.Conn) error { panic(errTest) }, is: errTest},
		"handler closed":     {handler: func(c *coserver.Conn) error { return errors.Join(c.Close(), errTest) }, is: net.ErrClosed},
		"server closed":      {handler: wait, end: func(t *testing.T, s *coserver.Server, _ *net.TCPConn) { require.NoError(t, s.Close()) }, is: coserver.ErrServerClosed},
		"peer reset":         {handler: wait, end: func(t *testing.T, _ *coserver.Server, client *net.TCPConn) { reset(t, client) }, is: syscall.ECONNRESET},
		"both have said all": {handler: func(c *coserver.Conn) error { return errors.Join(c.CloseWrite(), wait(c)) }, end: func(t *testing.T, _ *coserver.Server, client *net.TCPConn) { require.NoError(t, client.CloseWrite()) }, is: io.EOF},
		"shut down when idle": {handler: echoNext, end: func(t *testing.T, s *coserver.Server, _ *net.TCPConn) {
			require.NoError(t, s.Shutdown(context.Background()))
		}, is: coserver.ErrServerClosed},
	} {
		t.Run(name, func(t *testing.T) {
			contexts := make(chan context.Context, 1)
			s := &coserver.Server{Carrier: coserver.Channel, OnError: func(*coserver.Conn, error) {}, Handler: func(conn *coserver.Conn) error {
				contexts <- conn.Context()
				return c.handler(conn)
			}}
			client := dial(t, start(t, s, "tcp")).(*net.TCPConn)
			ctx := receive(t, contexts)
			if c.end != nil {
				if name != "shut down when idle" {
					receive(t, begun)
				}
				require.NoError(t, ctx.Err())
				c.end(t, s, client)
			}
			receive(t, ctx.Done())
			require.ErrorIs(t, context.Cause(ctx), c.is)
			require.ErrorIs(t, ctx.Err(), context.Canceled)
		})
	}
}

func reset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
}

// A context that is asked for afterwards is done, too.
func TestContextAfterClose(t *testing.T) {
	for _, before := range []bool{false, true} {
		c, _ := held(t, "tcp")
		if before {
			c.Set("key", "value")
		}
		require.NoError(t, c.Close())
		ctx := c.Context()
		require.Same(t, ctx, c.Context())
		require.ErrorIs(t, ctx.Err(), context.Canceled)
		require.ErrorIs(t, context.Cause(ctx), net.ErrClosed)
	}
}

func TestValues(t *testing.T) {
	type key struct{}
	c, _ := held(t, "tcp")
	require.Nil(t, c.Get(key{}))
	c.Set(key{}, 1)
	c.Set("other", 2)
	require.Equal(t, 1, c.Get(key{}))
	c.Set(key{}, nil)
	require.Nil(t, c.Get(key{}))
	require.Equal(t, 2, c.Get("other"))
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 100 {
				c.Set(i, i)
				_ = c.Get(i)
			}
		})
	}
	group.Wait()
	for i := range 8 {
		require.Equal(t, i, c.Get(i))
	}
}
