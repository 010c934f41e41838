package coserver_test

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// swoole_socket_coro/peek_and_checkLiveness: what has come shows without being taken, and so does the end.
func TestPeekAndCheckAlive(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			within(t, func(t *testing.T) {
				c, client := held(t, network)
				require.NoError(t, c.CheckAlive())
				_, err := io.WriteString(client, "echo")
				require.NoError(t, err)
				peeked, err := c.Peek(4)
				require.NoError(t, err)
				require.Equal(t, "echo", string(peeked))
				require.NoError(t, c.CheckAlive())
				require.NoError(t, client.Close())
				eventually(t, func() bool { return c.CheckAlive() == io.EOF }, "the peer has gone")
				got := make([]byte, 4)
				_, err = c.ReadFull(got)
				require.NoError(t, err)
				require.Equal(t, "echo", string(got))
				_, err = c.Read(got)
				require.Equal(t, io.EOF, err)
				require.Equal(t, io.EOF, c.CheckAlive())
			})
		})
	}
}

// Looking takes nothing away: a reset is there to be read after it.
func TestCheckAliveAfterAReset(t *testing.T) {
	within(t, func(t *testing.T) {
		c, client := held(t, "tcp")
		require.NoError(t, client.(*net.TCPConn).SetLinger(0))
		require.NoError(t, client.Close())
		eventually(t, func() bool { return c.CheckAlive() != nil }, "the peer has gone")
		for range 2 {
			err := c.CheckAlive()
			require.ErrorIs(t, err, syscall.ECONNRESET)
			require.ErrorAs(t, err, new(*net.OpError))
		}
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.NoError(t, c.Close())
		require.ErrorIs(t, c.CheckAlive(), net.ErrClosed)
	})
}

// A handler that has work to do can see, between two steps of it, that nobody waits for the result any more, though its loop has no
// time to be told.
func TestCheckAliveOfAHandlerThatComputes(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		begun, seen := make(chan struct{}), make(chan error, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			close(begun)
			for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
				if err := c.CheckAlive(); err != nil {
					seen <- err
					return nil
				}
			}
			seen <- nil
			return nil
		}}, "tcp")
		client := dial(t, addr)
		receive(t, begun)
		require.NoError(t, client.Close())
		require.Equal(t, io.EOF, receive(t, seen))
	})
}
