package coserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// The tests in this file are behaviours of Swoole's test suite that no other test here holds; docs/swoole.md names the tests of the others.

// swoole_server_coro/tcp: a handler reads once, replies, closes and shuts its server down.
func TestReplyCloseAndShutdown(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier}
		down := make(chan error, 1)
		s.Handler = func(c *coserver.Conn) error {
			line, err := c.ReadLine(1000)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(c, "got %s\n", line); err != nil {
				return err
			}
			if err := c.Close(); err != nil {
				return err
			}
			down <- s.Shutdown(context.Background())
			return nil
		}
		c := dial(t, start(t, s, "tcp")) // which wants Serve to return
		_, err := io.WriteString(c, `{"json": true}`+"\n")
		require.NoError(t, err)
		all, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, "got "+`{"json": true}`+"\n", string(all))
		require.NoError(t, receive(t, down))
	})
}

// swoole_socket_coro/concurrency: a hundred clients at once, and each gets its own reply.
func TestHundredClients(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: echoLine}, "tcp")
		var clients sync.WaitGroup
		for i := range 100 {
			c := dial(t, addr)
			clients.Go(func() {
				line := fmt.Sprintf("line of client %d\n", i)
				if _, err := io.WriteString(c, line); !noError(t, err) {
					return
				}
				answer, err := bufio.NewReader(c).ReadString('\n')
				if noError(t, err) && answer != line {
					t.Errorf("client %d got %q", i, answer)
				}
			})
		}
		clients.Wait()
	})
}

// swoole_socket_coro/complete_test: a client that goes silent after ten exchanges is timed out then, and not before.
func TestTimeoutAfterTenExchanges(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		type outcome struct {
			exchanges int
			err       error
		}
		outcomes := make(chan outcome, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			for n := 0; ; n++ {
				if n == 10 { // only what is after these may be short of time
					if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
						return err
					}
				} else if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
					return err
				}
				line, err := c.ReadSlice('\n')
				if err != nil {
					outcomes <- outcome{n, err}
					return nil
				}
				if _, err := c.Write(line); err != nil {
					return err
				}
			}
		}}, "tcp")
		c := dial(t, addr)
		for range 10 {
			exchange(t, c, "ping\n")
		}
		got := receive(t, outcomes)
		require.Equal(t, 10, got.exchanges)
		requireTimeout(t, got.err)
	})
}

// swoole_socket_coro/recvAll_timeout: of a peer that drips, ReadFull has a beginning when its time is over, and goes on from there.
func TestReadFullOfADrippingPeer(t *testing.T) {
	within(t, func(t *testing.T) {
		c, client := held(t, "tcp")
		over := make(chan struct{})
		dripped := make(chan int, 1)
		go func() {
			n := 0
			defer func() { dripped <- n }()
			for ticks := time.NewTicker(5 * time.Millisecond); ; n++ {
				if _, err := client.Write([]byte{byte(n)}); !noError(t, err) {
					return
				}
				select {
				case <-ticks.C:
				case <-over:
					n++
					return
				}
			}
		}()
		_, err := c.Peek(1)
		require.NoError(t, err)
		begin := time.Now()
		const limit = 100 * time.Millisecond
		require.NoError(t, c.SetReadDeadline(begin.Add(limit)))
		p := make([]byte, 1024)
		n, err := c.ReadFull(p)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.GreaterOrEqual(t, time.Since(begin), limit)
		require.Positive(t, n)
		require.Less(t, n, len(p))
		close(over)
		total := receive(t, dripped)
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		_, err = c.ReadFull(p[n:total])
		require.NoError(t, err)
		for i, b := range p[:total] {
			require.Equal(t, byte(i), b)
		}
	})
}

// swoole_socket_coro/recv_with_buffer: what is read byte by byte is what was sent.
func TestSingleByteReads(t *testing.T) {
	content := randomBytes(7, 10_000)
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		got := make(chan []byte, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			var all []byte
			defer func() { got <- all }()
			if _, err := c.Peek(1); err != nil { // from here on there is something in the buffer
				return err
			}
			for one := make([]byte, 1); ; {
				if _, err := c.Read(one); err != nil {
					return err
				}
				all = append(all, one[0])
			}
		}}, "tcp")
		c := dial(t, addr)
		_, err := c.Write(content)
		require.NoError(t, err)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		require.True(t, bytes.Equal(content, receive(t, got)))
	})
}

// swoole_socket_coro/all: 64 MiB there and back.
func TestSixtyFourMiB(t *testing.T) {
	const size = 64 << 20
	content := randomBytes(8, size)
	addr := start(t, &coserver.Server{Handler: func(c *coserver.Conn) error {
		all := make([]byte, size)
		if _, err := c.ReadFull(all); err != nil {
			return err
		}
		_, err := c.Write(all)
		return err
	}}, "tcp")
	c := dial(t, addr)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(content)
		sent <- err
	}()
	sum := sha256.New()
	n, err := io.Copy(sum, c)
	require.NoError(t, err)
	require.NoError(t, receive(t, sent))
	require.EqualValues(t, size, n)
	want := sha256.Sum256(content)
	require.True(t, bytes.Equal(want[:], sum.Sum(nil)))
}

// swoole_socket_coro/closed: after Close every call says so.
func TestEverythingFailsAfterClose(t *testing.T) {
	within(t, func(t *testing.T) {
		c, _ := held(t, "tcp")
		require.NoError(t, c.Close())
		one := make([]byte, 1)
		file := fileWith(t, []byte("content"))
		for name, call := range map[string]func() error{
			"Read":               func() error { _, err := c.Read(one); return err },
			"Next":               func() error { _, err := c.Next(); return err },
			"ReadSlice":          func() error { _, err := c.ReadSlice('\n'); return err },
			"ReadLine":           func() error { _, err := c.ReadLine(10); return err },
			"ReadFull":           func() error { _, err := c.ReadFull(one); return err },
			"Readv":              func() error { _, err := c.Readv([][]byte{one}); return err },
			"ReadFullv":          func() error { _, err := c.ReadFullv([][]byte{one}); return err },
			"Peek":               func() error { _, err := c.Peek(1); return err },
			"Discard":            func() error { _, err := c.Discard(1); return err },
			"WriteTo":            func() error { _, err := c.WriteTo(io.Discard); return err },
			"Write":              func() error { _, err := c.Write(one); return err },
			"Writev":             func() error { _, err := c.Writev([][]byte{one}); return err },
			"ReadFrom":           func() error { _, err := c.ReadFrom(bytes.NewReader(one)); return err },
			"SendFile":           func() error { _, err := c.SendFile(file, 0, 0); return err },
			"Close":              c.Close,
			"CloseRead":          c.CloseRead,
			"CloseWrite":         c.CloseWrite,
			"CheckAlive":         c.CheckAlive,
			"SetDeadline":        func() error { return c.SetDeadline(time.Time{}) },
			"SetReadDeadline":    func() error { return c.SetReadDeadline(time.Time{}) },
			"SetWriteDeadline":   func() error { return c.SetWriteDeadline(time.Time{}) },
			"SetNoDelay":         func() error { return c.SetNoDelay(true) },
			"SetKeepAlive":       func() error { return c.SetKeepAlive(true) },
			"SetKeepAlivePeriod": func() error { return c.SetKeepAlivePeriod(time.Second) },
			"SetKeepAliveConfig": func() error { return c.SetKeepAliveConfig(net.KeepAliveConfig{}) },
			"SetLinger":          func() error { return c.SetLinger(1) },
			"SetReadBuffer":      func() error { return c.SetReadBuffer(4096) },
			"SetWriteBuffer":     func() error { return c.SetWriteBuffer(4096) },
			"SyscallConn":        func() error { _, err := c.SyscallConn(); return err },
			"StartTLS":           func() error { return c.StartTLS(new(tls.Config)) },
		} {
			require.ErrorIs(t, call(), net.ErrClosed, name)
		}
		c.Wait()
	})
}

// swoole_socket_coro/bound_error. There the second reader is a fatal error; here readers take turns, and each message is one's.
func TestReadersTakeTurns(t *testing.T) {
	const readers, each = 8, 50
	c, client := held(t, "tcp")
	lines := make(chan string, readers*each)
	for range readers {
		go func() {
			for range each {
				line := make([]byte, 4)
				if _, err := c.ReadFull(line); err != nil {
					lines <- err.Error()
					return
				}
				lines <- string(line)
			}
		}()
	}
	var sent, got []string
	for i := range readers * each {
		message := fmt.Sprintf("%04d", i)
		sent = append(sent, message)
		_, err := io.WriteString(client, message)
		require.NoError(t, err)
	}
	for range readers * each {
		got = append(got, receive(t, lines))
	}
	slices.Sort(got)
	require.Equal(t, sent, got)
}

// swoole_socket_coro/shutdown: after CloseWrite each write fails, and reading goes on; after CloseRead that ends, too, and the connection
// has still to be closed.
func TestBothDirectionsEnd(t *testing.T) {
	within(t, func(t *testing.T) {
		c, client := held(t, "tcp")
		require.NoError(t, c.CloseWrite())
		for range 2 {
			_, err := io.WriteString(c, "more")
			require.ErrorIs(t, err, syscall.EPIPE)
		}
		expectEOF(t, client)
		_, err := io.WriteString(client, "still read")
		require.NoError(t, err)
		p := make([]byte, len("still read"))
		_, err = c.ReadFull(p)
		require.NoError(t, err)
		require.Equal(t, "still read", string(p))
		require.NoError(t, c.CloseRead())
		_, err = c.Read(p)
		require.Equal(t, io.EOF, err)
		require.NoError(t, c.Close())
		require.ErrorIs(t, c.CloseRead(), net.ErrClosed)
	})
}
