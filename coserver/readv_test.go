package coserver_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// vectors makes buffers of these sizes.
func vectors(sizes ...int) [][]byte {
	bufs := make([][]byte, len(sizes))
	for i, size := range sizes {
		bufs[i] = make([]byte, size)
	}
	return bufs
}

// swoole_socket_coro/readv: what comes is dealt out to the buffers in order, and there may be less of it than room.
func TestReadv(t *testing.T) {
	within(t, func(t *testing.T) {
		c, client := held(t, "tcp")
		for _, sizes := range [][]int{{5, 5}, {5, 7}, {5, 7, 7}, {0, 5, 0, 5}} {
			_, err := io.WriteString(client, "helloworld")
			require.NoError(t, err)
			_, err = c.Peek(10)
			require.NoError(t, err)
			bufs := vectors(sizes...)
			n, err := c.Readv(bufs)
			require.NoError(t, err)
			require.EqualValues(t, 10, n)
			require.Equal(t, "helloworld", string(bytes.Join(bufs, nil)[:5])+"world")
			require.Equal(t, "world", string(bytes.TrimRight(bytes.Join(bufs, nil)[5:], "\x00")))
		}
		n, err := c.Readv(nil)
		require.NoError(t, err)
		require.Zero(t, n)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Millisecond)))
		_, err = c.Readv(vectors(1))
		requireTimeout(t, err)
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		_, err = io.WriteString(client, "tail")
		require.NoError(t, err)
		bufs := vectors(2, 1)
		n, err = c.Readv(bufs)
		require.NoError(t, err)
		require.EqualValues(t, 3, n)
		require.Equal(t, "tai", string(bytes.Join(bufs, nil)))
		require.NoError(t, client.(*net.TCPConn).CloseWrite())
		n, err = c.Readv(bufs) // what was left
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		_, err = c.Readv(bufs)
		require.Equal(t, io.EOF, err)
	})
}

// swoole_socket_coro/readVectorAll, readv_eagain, writeVectorAll, writev_eagain, and those over TLS: ten buffers of 128 KiB come
// whole, also if the peer is late, and after the end there is nothing.
func TestReadFullv(t *testing.T) {
	const count, size = 10, 128 << 10
	content := randomBytes(5, count*size)
	var sent [][]byte
	for part := range count {
		sent = append(sent, content[part*size:(part+1)*size])
	}
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
				waits, done := make(chan struct{}, 1), make(chan struct{}, 1)
				s := &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
					defer func() { done <- struct{}{} }()
					waits <- struct{}{}
					bufs := vectors(size, size, size, size, size, size, size, size, size, size)
					n, err := c.ReadFullv(bufs)
					if !noError(t, err) || int(n) != len(content) || !bytes.Equal(content, bytes.Join(bufs, nil)) {
						t.Errorf("%d bytes", n)
					}
					if _, err := c.Writev(sent); !noError(t, err) {
						return err
					}
					if n, err := c.ReadFullv(vectors(1, 1)); n != 0 || err != io.EOF {
						t.Errorf("%d bytes and %v after the end", n, err)
					}
					return nil
				}}
				var client net.Conn
				if secure {
					s.TLSConfig = serverTLS()
					client = dialTLS(t, start(t, s, "tcp"), clientTLS())
				} else {
					client = dial(t, start(t, s, "tcp"))
				}
				receive(t, waits)
				_, err := client.Write(content)
				require.NoError(t, err)
				back := make([]byte, len(content))
				_, err = io.ReadFull(client, back)
				require.NoError(t, err)
				require.True(t, bytes.Equal(content, back))
				require.NoError(t, client.(interface{ CloseWrite() error }).CloseWrite())
				receive(t, done)
			})
		})
	}
}

// What has arrived by the time of an error is in the buffers, and the rest can be read after it.
func TestReadFullvKeepsWhatCame(t *testing.T) {
	within(t, func(t *testing.T) {
		c, client := held(t, "tcp")
		_, err := io.WriteString(client, "abcde")
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		bufs := vectors(2, 2, 2)
		n, err := c.ReadFullv(bufs)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.EqualValues(t, 5, n)
		require.Equal(t, "abcde", string(bytes.Join(bufs, nil)[:n]))
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		_, err = io.WriteString(client, "fgh")
		require.NoError(t, err)
		require.NoError(t, client.(*net.TCPConn).CloseWrite())
		n, err = c.ReadFullv(bufs)
		require.Equal(t, io.ErrUnexpectedEOF, err)
		require.Equal(t, "fgh", string(bytes.Join(bufs, nil)[:n]))
		n, err = c.ReadFullv(vectors(0, 0))
		require.NoError(t, err)
		require.Zero(t, n)
	})
}
