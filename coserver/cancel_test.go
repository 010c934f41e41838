package coserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// requireCanceled wants the error of a call that CancelRead or CancelWrite has ended.
func requireCanceled(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, context.Canceled)
	var opError *net.OpError
	require.ErrorAs(t, err, &opError)
	require.False(t, opError.Timeout())
}

// swoole_socket_coro/cancel, swoole_coroutine/cancel/socket: a call that waits to read is ended from outside. Nothing is lost by it,
// and the next call reads on.
func TestCancelRead(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
				conns, lines, errs := make(chan *coserver.Conn, 1), make(chan string, 1), make(chan error, 1)
				s := &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
					conns <- c
					for {
						line, err := c.ReadSlice('\n')
						if err != nil && !errors.Is(err, context.Canceled) {
							return err
						}
						lines <- string(line)
						errs <- err
					}
				}}
				var client net.Conn
				if secure {
					s.TLSConfig = serverTLS()
					client = dialTLS(t, start(t, s, "tcp"), clientTLS())
					require.NoError(t, client.(interface{ Handshake() error }).Handshake())
				} else {
					client = dial(t, start(t, s, "tcp"))
				}
				c := receive(t, conns)
				_, err := io.WriteString(client, "be")
				require.NoError(t, err)
				for range 3 {
					eventually(t, c.CancelRead, "a call waits")
					require.Empty(t, receive(t, lines))
					requireCanceled(t, receive(t, errs))
				}
				_, err = io.WriteString(client, "gun\n")
				require.NoError(t, err)
				require.Equal(t, "begun\n", receive(t, lines))
				require.NoError(t, receive(t, errs))
			})
		})
	}
}

// Without a call that waits there is nothing to cancel, and the next call is not concerned.
func TestCancelNothing(t *testing.T) {
	c, client := held(t, "tcp")
	require.False(t, c.CancelRead())
	require.False(t, c.CancelWrite())
	_, err := client.Write([]byte("x"))
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.False(t, c.CancelRead())
	require.False(t, c.CancelWrite())
}

// A Write that is cancelled says how much the kernel took, and the next goes on where it stopped.
func TestCancelWrite(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		message := bytes.Repeat([]byte("0123456789"), 2<<20)
		conns, errs := make(chan *coserver.Conn, 1), make(chan error, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			conns <- c
			n, err := c.Write(message)
			errs <- err
			_, err = c.Write(message[n:])
			return err
		}}, "tcp")
		client := dial(t, addr)
		c := receive(t, conns)
		eventually(t, c.CancelWrite, "a call waits")
		requireCanceled(t, receive(t, errs))
		all, err := io.ReadAll(client)
		require.NoError(t, err)
		require.True(t, bytes.Equal(message, all))
	})
}

// What was gathered when its sending is cancelled is gathered still.
func TestCancelWriteOfGatheredOutput(t *testing.T) {
	within(t, func(t *testing.T) {
		conns := make(chan *coserver.Conn, 1)
		answer := bytes.Repeat([]byte("a"), 15<<10)
		const lines, buffer = 400, 64 << 10 // several times what the two sockets take
		addr := start(t, &coserver.Server{Handler: func(c *coserver.Conn) error {
			if err := c.SetWriteBuffer(buffer); err != nil {
				return err
			}
			conns <- c
			for {
				_, err := c.ReadSlice('\n')
				if err != nil {
					return err
				}
				for sent := 0; sent < len(answer); {
					n, err := c.Write(answer[sent:])
					if sent += n; err != nil && !errors.Is(err, context.Canceled) {
						return err
					}
				}
			}
		}}, "tcp")
		client := dial(t, addr)
		require.NoError(t, client.(*net.TCPConn).SetReadBuffer(buffer))
		c := receive(t, conns)
		_, err := client.Write(bytes.Repeat([]byte("\n"), lines))
		require.NoError(t, err)
		for range 3 {
			eventually(t, c.CancelWrite, "a call waits")
		}
		require.NoError(t, client.(*net.TCPConn).CloseWrite())
		all, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Len(t, all, lines*len(answer))
	})
}

// What is enqueued waits for room too, but it is no call: nobody can cancel it, and it arrives.
func TestCancelWriteLeavesTheQueueAlone(t *testing.T) {
	c, client, sent := stalled(t, &coserver.Server{})
	require.NotZero(t, c.Queued())
	require.False(t, c.CancelWrite())
	waits := make(chan error, 1)
	go func() { waits <- c.Flush() }()
	_, err := io.CopyN(io.Discard, client, int64(sent))
	require.NoError(t, err)
	require.NoError(t, receive(t, waits))
}
