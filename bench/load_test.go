//go:build linux

package bench_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench"
	"github.com/strand-net/strand/bench/server"
)

// quickLoad is a run that is long enough to see everything happen.
func quickLoad(addr net.Addr) bench.LoadOptions {
	return bench.LoadOptions{
		Addr: addr.String(), Conns: 5, Size: 64, Pipeline: 1,
		Warmup: 20 * time.Millisecond, Window: 100 * time.Millisecond,
	}
}

func startServer(t *testing.T, proto string) net.Addr {
	srv, err := server.Listen(server.Options{Engine: server.EngineNet, Proto: proto, Addr: "127.0.0.1:0"})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		require.NoError(t, <-served)
	})
	return srv.Addr()
}

// startHandler runs handle for each connection, and closes it when handle returns.
func startHandler(t *testing.T, handle func(net.Conn)) net.Addr {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return listener.Addr()
}

func TestLoadMeasures(t *testing.T) {
	for _, c := range []struct {
		name           string
		proto          string
		size, pipeline int
	}{
		{"echo", server.ProtoEcho, 64, 1},
		{"one byte", server.ProtoEcho, 1, 1},
		{"lines", server.ProtoLine, 64, 16},
		{"framed", server.ProtoLength, 64, 16},
		{"more than a socket buffer takes", server.ProtoEcho, 1 << 18, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := quickLoad(startServer(t, c.proto))
			o.Size, o.Pipeline = c.size, c.pipeline
			o.Lines, o.Framed = c.proto == server.ProtoLine, c.proto == server.ProtoLength
			if c.size > 1<<16 {
				o.Window = time.Second // a batch takes long
			}
			var err error
			o.Process, err = bench.Watch(os.Getpid())
			require.NoError(t, err)
			result, err := bench.Load(t.Context(), o)
			require.NoError(t, err)
			require.Positive(t, result.Messages)
			require.Zero(t, result.Messages%int64(c.pipeline))
			require.GreaterOrEqual(t, result.Elapsed, o.Window)
			require.Equal(t, o.Conns, result.Drained, "a closed loop always has a batch in flight on each connection")
			require.Equal(t, result.Messages/int64(c.pipeline)+int64(result.Drained), result.Latency.TotalCount()+result.OverRange)
			require.Positive(t, result.Latency.ValueAtQuantile(50))
			require.Positive(t, result.RSSAfter)
			require.Positive(t, result.CPU.User+result.CPU.System)
			require.Positive(t, result.ConnectTime)
		})
	}
}

func TestLoadMeasuresDelay(t *testing.T) {
	const delay = 20 * time.Millisecond
	addr := startHandler(t, func(conn net.Conn) {
		buf := make([]byte, 64)
		for {
			if _, err := io.ReadFull(conn, buf); err != nil {
				return
			}
			time.Sleep(delay)
			if _, err := conn.Write(buf); err != nil {
				return
			}
		}
	})
	result, err := bench.Load(t.Context(), quickLoad(addr))
	require.NoError(t, err)
	require.GreaterOrEqual(t, result.Latency.Min(), int64(delay)*99/100)
}

func TestLoadFindsFaults(t *testing.T) {
	// after lets n bytes pass and then hands over the connection and what comes next.
	after := func(n int64, then func(net.Conn, []byte)) func(net.Conn) {
		return func(conn net.Conn) {
			if _, err := io.CopyN(conn, conn, n); err != nil {
				return
			}
			buf := make([]byte, 64)
			if _, err := io.ReadFull(conn, buf); err != nil {
				return
			}
			then(conn, buf)
			io.Copy(io.Discard, conn)
		}
	}
	for _, c := range []struct {
		name   string
		handle func(net.Conn)
		want   string
	}{
		{"wrong byte", after(640, func(conn net.Conn, buf []byte) {
			buf[10] ^= 1
			conn.Write(buf)
		}), "byte 11 of a batch of 64: a wrong byte came back"},
		{"surplus byte", after(640, func(conn net.Conn, buf []byte) {
			conn.Write(append(buf, 'x'))
		}), "byte 65 of a batch of 64: came back although nothing was due: 0x78"},
		{"greeting", func(conn net.Conn) {
			conn.Write([]byte("*"))
			io.Copy(conn, conn)
		}, "byte 1 of a batch of 64: a wrong byte came back: 0x2a"},
		{"early close", after(640, func(conn net.Conn, buf []byte) {
			conn.Write(buf[:7])
			conn.(*net.TCPConn).CloseWrite()
		}), "the server closed it after 7 of 64 bytes of a batch"},
		{"reset", after(640, func(conn net.Conn, buf []byte) {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}), "connection reset by peer"},
		{"stall", after(640, func(conn net.Conn, buf []byte) {
			conn.Write(buf[:9])
		}), "stalled: nothing came back for 200ms, 9 of 64 bytes of the batch before that"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := quickLoad(startHandler(t, c.handle))
			o.Conns, o.Window, o.Stall = 2, 30*time.Second, 200*time.Millisecond
			_, err := bench.Load(t.Context(), o)
			require.ErrorContains(t, err, c.want)
			require.Regexp(t, `^connection [12] of 2 to 127\.0\.0\.1:\d+: `, err.Error())
		})
	}
}

// A server that falls silent only when the window is over must not get away with it.
func TestLoadWaitsForTheLastBatch(t *testing.T) {
	begin := time.Now()
	addr := startHandler(t, func(conn net.Conn) {
		buf := make([]byte, 64)
		for time.Since(begin) < 60*time.Millisecond {
			if _, err := io.ReadFull(conn, buf); err != nil {
				return
			}
			conn.Write(buf)
		}
		io.Copy(io.Discard, conn)
	})
	o := quickLoad(addr)
	o.Stall = 500 * time.Millisecond // longer than the rest of the window
	_, err := bench.Load(t.Context(), o)
	require.ErrorContains(t, err, "stalled: nothing came back for 500ms")
}

func TestLoadRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	_, err = bench.Load(t.Context(), quickLoad(listener.Addr()))
	require.ErrorContains(t, err, "connection 1 of 5")
	require.ErrorContains(t, err, "connect: connection refused")
}

func TestLoadEndsWithItsContext(t *testing.T) {
	o := quickLoad(startServer(t, server.ProtoEcho))
	o.Window = time.Minute
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	time.AfterFunc(50*time.Millisecond, func() { cancel(over) })
	_, err := bench.Load(ctx, o)
	require.ErrorIs(t, err, over)
}

func TestLoadOptions(t *testing.T) {
	for field, change := range map[string]func(*bench.LoadOptions){
		"conns":    func(o *bench.LoadOptions) { o.Conns = 0 },
		"size":     func(o *bench.LoadOptions) { o.Size = 0 },
		"pipeline": func(o *bench.LoadOptions) { o.Pipeline = 0 },
		"duration": func(o *bench.LoadOptions) { o.Window = 0 },
		"settle":   func(o *bench.LoadOptions) { o.Settle = -1 },
		"line":     func(o *bench.LoadOptions) { o.Lines, o.Size = true, 1 },
		"header":   func(o *bench.LoadOptions) { o.Framed, o.Size = true, 3 },
		"framed":   func(o *bench.LoadOptions) { o.Framed, o.Lines = true, true },
		"over":     func(o *bench.LoadOptions) { o.Size, o.Pipeline = 1<<19, 3 },
		"port":     func(o *bench.LoadOptions) { o.Addr = "127.0.0.1" },
	} {
		t.Run(field, func(t *testing.T) {
			o := quickLoad(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
			change(&o)
			_, err := bench.Load(t.Context(), o)
			require.ErrorContains(t, err, field)
			require.NotContains(t, err.Error(), "\n")
			require.False(t, strings.HasSuffix(err.Error(), "refused"), "found before a connection was tried")
		})
	}
}
