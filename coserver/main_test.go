package coserver_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys/kerneltest"
)

func TestMain(m *testing.M) {
	kerneltest.Substitute()
	leak.Main(m)
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// carriers are the ways to run a handler that every test of behaviour must hold for.
var carriers = []coserver.Carrier{coserver.Inline, coserver.Channel}

func onEachCarrier(t *testing.T, test func(t *testing.T, carrier coserver.Carrier)) {
	for _, carrier := range carriers {
		t.Run(carrier.String(), func(t *testing.T) { test(t, carrier) })
	}
}

// within runs do in a handler of each kind, and on a goroutine of its own.
func within(t *testing.T, do func(t *testing.T)) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		failed := make(chan bool, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(*coserver.Conn) error {
			defer func() { failed <- t.Failed() }()
			do(t)
			return nil
		}}, "tcp")
		dial(t, addr)
		require.False(t, receive(t, failed))
	})
	t.Run("goroutine", func(t *testing.T) {
		leak.Check(t)
		do(t)
	})
}

// start serves s on network until the test ends, and fails the test if anything is left then.
func start(t *testing.T, s *coserver.Server, network string) net.Addr {
	t.Helper()
	if s.Engine == nil {
		leak.Check(t)
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	ln, err := s.Listen(network, address(t, network))
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		select {
		case err := <-served:
			require.ErrorIs(t, err, coserver.ErrServerClosed)
		case <-time.After(patience):
			require.Fail(t, "Serve did not return")
		}
	})
	return ln.Addr()
}

// newEngine starts an engine that is closed when the test ends, and fails the test if anything is left then.
func newEngine(t *testing.T, config coserver.EngineConfig) *coserver.Engine {
	t.Helper()
	leak.Check(t)
	engine, err := coserver.NewEngine(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	return engine
}

func address(t *testing.T, network string) string {
	switch network {
	case "unix":
		dir, err := os.MkdirTemp("", "strand") // t.TempDir is too long for a socket's path
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		return filepath.Join(dir, "s")
	case "tcp6":
		return "[::1]:0"
	}
	return "127.0.0.1:0"
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// exchange sends message and expects the same back.
func exchange(t *testing.T, c net.Conn, message string) {
	t.Helper()
	_, err := io.WriteString(c, message)
	require.NoError(t, err)
	answer := make([]byte, len(message))
	_, err = io.ReadFull(c, answer)
	require.NoError(t, err)
	require.Equal(t, message, string(answer))
}

// expectEOF fails the test if the other side sends anything but its end, or none.
func expectEOF(t *testing.T, c net.Conn) {
	t.Helper()
	rest, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Empty(t, rest)
}

// expectEnd is expectEOF where the other side may also cut the connection.
func expectEnd(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

// eventually waits until condition holds.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond, what)
}

// echoNext is the zero-copy echo, echoRead the plain one, echoLine answers line by line.
func echoNext(c *coserver.Conn) error {
	for {
		data, err := c.Next()
		if err != nil {
			return err
		}
		if _, err := c.Write(data); err != nil {
			return err
		}
	}
}

func echoRead(c *coserver.Conn) error {
	buffer := make([]byte, 4096)
	for {
		n, err := c.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := c.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

func echoLine(c *coserver.Conn) error {
	for {
		line, err := c.ReadSlice('\n')
		if _, writeErr := c.Write(line); writeErr != nil {
			return writeErr
		}
		if err != nil {
			return err
		}
	}
}

var errTest = errors.New("test error")
