package loop_test

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys/kerneltest"
)

func TestMain(m *testing.M) {
	kerneltest.Substitute()
	leak.Main(m)
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// newEngine starts an engine that is closed when the test ends.
func newEngine(t *testing.T, config loop.Config) *loop.Engine {
	t.Helper()
	leak.Check(t)
	if config.Logger == nil {
		config.Logger = quiet
	}
	e, err := loop.NewEngine(config)
	require.NoError(t, err)
	t.Cleanup(func() { e.Close() })
	return e
}

func startService(t *testing.T, e *loop.Engine, network string, service loop.Service) *loop.Listener {
	t.Helper()
	address := "127.0.0.1:0"
	switch network {
	case "tcp6":
		address = "[::1]:0"
	case "unix":
		dir, err := os.MkdirTemp("", "strand")
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		address = filepath.Join(dir, "s")
	}
	ln, err := e.Start(network, address, service)
	require.NoError(t, err)
	return ln
}

func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

func exchange(t *testing.T, c net.Conn, message string) {
	t.Helper()
	_, err := io.WriteString(c, message)
	require.NoError(t, err)
	answer := make([]byte, len(message))
	_, err = io.ReadFull(c, answer)
	require.NoError(t, err)
	require.Equal(t, message, string(answer))
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

// callbacks is a Handler made of functions; those that are nil do nothing.
type callbacks struct {
	open  func(*loop.Conn)
	data  func(*loop.Conn, []byte)
	close func(*loop.Conn, error)
}

func (h callbacks) OnOpen(c *loop.Conn) {
	if h.open != nil {
		h.open(c)
	}
}

func (h callbacks) OnData(c *loop.Conn, data []byte) {
	if h.data != nil {
		h.data(c, data)
	}
}

func (h callbacks) OnClose(c *loop.Conn, err error) {
	if h.close != nil {
		h.close(c, err)
	}
}

func echo(c *loop.Conn, data []byte) { c.Write(data) }

// halfOpen is a Handler that is told of the peer's end.
type halfOpen struct {
	callbacks
	eof func(*loop.Conn)
}

func (h halfOpen) OnEOF(c *loop.Conn) { h.eof(c) }

// pressured is a Handler that is told of the water marks.
type pressured struct {
	callbacks
	pressure func(*loop.Conn, bool)
}

func (h pressured) OnPressure(c *loop.Conn, high bool) { h.pressure(c, high) }

// trace collects what happens, in order, from any goroutine.
type trace struct {
	mu     sync.Mutex
	events []string
}

func (r *trace) add(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

func (r *trace) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.events...)
}
