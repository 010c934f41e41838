package coserver_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// A handler gives its connection away, and waits until whoever has it closes it; the end of both directions is no reason to return,
// for not everything may have been read.
func TestWait(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		conns, over := make(chan *coserver.Conn, 1), make(chan struct{}, 1)
		engine := newEngine(t, coserver.EngineConfig{Loops: 1})
		addr := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			conns <- c
			c.Wait()
			c.Wait() // which returns at once
			over <- struct{}{}
			return nil
		}}, "tcp")
		client := dial(t, addr)
		c := receive(t, conns)
		_, err := io.WriteString(client, "unread")
		require.NoError(t, err)
		require.NoError(t, client.(*net.TCPConn).CloseWrite())
		require.NoError(t, c.CloseWrite())
		<-c.Context().Done()
		others := make(chan struct{}, 3)
		for range cap(others) {
			go func() {
				c.Wait()
				others <- struct{}{}
			}()
		}
		exchange(t, dialEchoOn(t, engine), "the loop is free")
		all, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "unread", string(all))
		require.Empty(t, over)
		require.NoError(t, c.Close())
		receive(t, over)
		for range cap(others) {
			receive(t, others)
		}
	})
}

func dialEchoOn(t *testing.T, engine *coserver.Engine) net.Conn {
	t.Helper()
	return dial(t, start(t, &coserver.Server{Engine: engine, Handler: echoNext}, "tcp"))
}

// A connection that is busy is not taken for idle though it waits for something new: neither when its server shuts down, nor by
// IdleTimeout. When it is no longer, it ends.
func TestSetBusy(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		conns, ended := make(chan *coserver.Conn, 2), make(chan error, 2)
		s := &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			c.SetBusy(true)
			conns <- c
			err := echoNext(c)
			ended <- err
			return err
		}}
		addr := start(t, s, "tcp")
		client := dial(t, addr)
		c := receive(t, conns)
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(context.Background()) }()
		<-c.ServerContext().Done()
		exchange(t, client, "still served")
		exchange(t, client, "and again")
		require.Empty(t, down)
		c.SetBusy(false)
		expectEOF(t, client)
		require.ErrorIs(t, receive(t, ended), net.ErrClosed)
		require.NoError(t, receive(t, down))
	})
}

func TestBusyConnectionsAreNotIdle(t *testing.T) {
	const limit = 20 * time.Millisecond
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		errs := make(chan error, 2)
		addr := start(t, &coserver.Server{Carrier: carrier, IdleTimeout: limit, Handler: func(c *coserver.Conn) error {
			c.SetBusy(true)
			c.SetReadDeadline(time.Now().Add(5 * limit))
			_, err := c.Next()
			errs <- err
			c.SetReadDeadline(time.Time{})
			c.SetBusy(false)
			_, err = c.Next()
			errs <- err
			return err
		}}, "tcp")
		client := dial(t, addr)
		err := receive(t, errs)
		requireTimeout(t, err)
		require.NotErrorIs(t, err, coserver.ErrIdleTimeout)
		require.ErrorIs(t, receive(t, errs), coserver.ErrIdleTimeout)
		expectEOF(t, client)
	})
}
