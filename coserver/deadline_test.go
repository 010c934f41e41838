package coserver_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// held serves connections that the test uses from its own goroutines, and returns both ends of a new one.
func held(t *testing.T, network string) (server *coserver.Conn, client net.Conn) {
	t.Helper()
	return heldOn(t, nil, network)
}

func heldOn(t *testing.T, engine *coserver.Engine, network string) (server *coserver.Conn, client net.Conn) {
	t.Helper()
	conns := make(chan *coserver.Conn, 1)
	over := make(chan struct{})
	addr := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Channel, Handler: func(c *coserver.Conn) error {
		conns <- c
		<-over
		return nil
	}}, network)
	t.Cleanup(func() { close(over) })
	client = dial(t, addr)
	return receive(t, conns), client
}

func requireTimeout(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var netError net.Error
	require.ErrorAs(t, err, &netError)
	require.True(t, netError.Timeout())
	var opError *net.OpError
	require.ErrorAs(t, err, &opError)
}

// A timeout loses nothing: the handler calls again and gets the same message whole.
func TestTimeoutInMidMessage(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		events := make(chan string, 10)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			for {
				c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				line, err := c.ReadSlice('\n')
				switch {
				case errors.Is(err, os.ErrDeadlineExceeded):
					select {
					case events <- "timeout":
					default:
					}
				case err != nil:
					return err
				default:
					events <- string(line)
				}
			}
		}}, "tcp")
		c := dial(t, addr)
		_, err := io.WriteString(c, "one\ntw")
		require.NoError(t, err)
		event := receive(t, events)
		for event == "timeout" { // before the line has come
			event = receive(t, events)
		}
		require.Equal(t, "one\n", event)
		require.Equal(t, "timeout", receive(t, events))
		require.Equal(t, "timeout", receive(t, events))
		_, err = io.WriteString(c, "o\n")
		require.NoError(t, err)
		for event := receive(t, events); event != "two\n"; event = receive(t, events) {
			require.Equal(t, "timeout", event)
		}
	})
}

// A deadline in the past wakes a call that waits already, and clearing it makes the connection usable again.
func TestPastDeadlineWakesAndIsCleared(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		conns := make(chan *coserver.Conn, 1)
		results := make(chan error, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			conns <- c
			_, err := c.Read(make([]byte, 1))
			c.SetReadDeadline(time.Time{})
			results <- err
			return echoRead(c)
		}}, "tcp")
		client := dial(t, addr)
		c := receive(t, conns)
		require.NoError(t, c.SetReadDeadline(time.Unix(1, 0)))
		requireTimeout(t, receive(t, results))
		exchange(t, client, "usable")
	})
}

func TestDeadlineIsNotEarly(t *testing.T) {
	server, _ := held(t, "tcp")
	for _, wait := range []time.Duration{time.Millisecond, 30 * time.Millisecond} {
		begin := time.Now()
		require.NoError(t, server.SetDeadline(begin.Add(wait)))
		_, err := server.Read(make([]byte, 1))
		requireTimeout(t, err)
		require.GreaterOrEqual(t, time.Since(begin), wait)
		_, err = server.Write([]byte("x"))
		requireTimeout(t, err)
	}
}

// A deadline that moves on does not end the wait at its earlier time; one that moves closer does.
func TestDeadlineMoves(t *testing.T) {
	server, client := held(t, "tcp")
	require.NoError(t, server.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err := server.Read(make([]byte, 1))
	requireTimeout(t, err)

	result := make(chan error, 1)
	require.NoError(t, server.SetReadDeadline(time.Now().Add(15*time.Millisecond)))
	go func() {
		_, err := server.Read(make([]byte, 1))
		result <- err
	}()
	require.NoError(t, server.SetReadDeadline(time.Now().Add(time.Hour)))
	select {
	case err := <-result:
		// The call may have begun after the first deadline; it has not timed out otherwise.
		requireTimeout(t, err)
	case <-time.After(60 * time.Millisecond):
		_, err := client.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, receive(t, result))
	}
	go func() {
		_, err := server.Read(make([]byte, 1))
		result <- err
	}()
	require.NoError(t, server.SetReadDeadline(time.Now().Add(5*time.Millisecond)))
	requireTimeout(t, receive(t, result))
}

// A Write that times out says how much the kernel took, and the next goes on where it stopped.
func TestWriteTimeout(t *testing.T) {
	server, client := held(t, "tcp")
	message := bytes.Repeat([]byte("0123456789"), 2<<20)
	require.NoError(t, server.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	n, err := server.Write(message)
	requireTimeout(t, err)
	require.Positive(t, n)
	require.Less(t, n, len(message))
	_, err = server.Write(message[n:])
	requireTimeout(t, err)
	require.NoError(t, server.SetWriteDeadline(time.Time{}))
	go func() {
		if _, err := server.Write(message[n:]); err != nil {
			t.Error(err)
		}
		server.Close()
	}()
	all, err := io.ReadAll(client)
	require.NoError(t, err)
	require.True(t, bytes.Equal(message, all))
}

// faults.md F3: deadlines from many goroutines; a reader wakes soon, or never when the last word was to clear.
func TestConcurrentSetDeadline(t *testing.T) {
	server, client := held(t, "tcp")
	var setters sync.WaitGroup
	done := make(chan struct{})
	for i := range 8 {
		setters.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-done:
					return
				default:
				}
				switch (i + j) % 3 {
				case 0:
					server.SetReadDeadline(time.Now().Add(-time.Second))
				case 1:
					server.SetReadDeadline(time.Now().Add(time.Millisecond))
				default:
					server.SetReadDeadline(time.Time{})
				}
				runtime.Gosched() // or the reader waits for a processor more than for its deadline
			}
		})
	}
	for range 100 {
		server.SetReadDeadline(time.Now().Add(time.Millisecond)) // or a setter that is running ends the wait
		_, err := server.Read(make([]byte, 1))
		requireTimeout(t, err)
	}
	close(done)
	setters.Wait()
	require.NoError(t, server.SetReadDeadline(time.Time{}))
	_, err := client.Write([]byte("x"))
	require.NoError(t, err)
	_, err = server.Read(make([]byte, 1))
	require.NoError(t, err)
}

// Input that comes at the very moment of a timeout is not forgotten: the next call gets it. net/http stops its background read
// with a deadline in the past, and hung when the next request was faster.
func TestInputAtTheMomentOfATimeout(t *testing.T) {
	server, client := held(t, "tcp")
	one := make([]byte, 1)
	for i := range 5000 {
		result := make(chan error, 1)
		go func() {
			_, err := server.Read(one)
			result <- err
		}()
		runtime.Gosched() // so that it mostly waits by now
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			client.Write([]byte("x"))
		}()
		for range i % 50 { // so that the deadline comes now before, now after the byte
			runtime.Gosched()
		}
		require.NoError(t, server.SetReadDeadline(time.Unix(1, 0)))
		err := receive(t, result)
		require.NoError(t, server.SetReadDeadline(time.Now().Add(patience)))
		if err != nil {
			requireTimeout(t, err)
			_, err = server.Read(one)
			require.NoError(t, err)
		}
		<-sent
		require.NoError(t, server.SetReadDeadline(time.Time{}))
	}
}

func TestDeadlineAfterClose(t *testing.T) {
	server, _ := held(t, "tcp")
	require.NoError(t, server.SetDeadline(time.Now().Add(time.Hour)))
	require.NoError(t, server.Close())
	require.ErrorIs(t, server.SetDeadline(time.Time{}), net.ErrClosed)
}

func BenchmarkSetDeadline(b *testing.B) {
	conns := make(chan *coserver.Conn, 1)
	over := make(chan struct{})
	s := &coserver.Server{Carrier: coserver.Channel, Handler: func(c *coserver.Conn) error {
		conns <- c
		<-over
		return nil
	}}
	ln, err := s.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go s.Serve(ln)
	defer s.Close()
	defer close(over)
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	c := <-conns
	b.Run("clear", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.SetReadDeadline(time.Time{})
		}
	})
	b.Run("set", func(b *testing.B) {
		deadline := time.Now().Add(time.Hour)
		b.ReportAllocs()
		for b.Loop() {
			c.SetReadDeadline(deadline)
		}
	})
}
