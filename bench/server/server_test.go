package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) {
	leak.Main(m)
}

// start runs a server until the test is over; served has what Serve returned.
func start(t *testing.T, o server.Options) (srv server.Server, served <-chan error) {
	t.Helper()
	o.Addr = "127.0.0.1:0"
	srv, err := server.Listen(o)
	require.NoError(t, err)
	returned := make(chan error, 1)
	go func() { returned <- srv.Serve() }()
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv, returned
}

// onEveryEngine runs test with a server of each engine that is built in; served has what Serve returned.
func onEveryEngine(t *testing.T, proto string, test func(t *testing.T, srv server.Server, served <-chan error)) {
	for _, engine := range server.Engines() {
		if (proto == server.ProtoHTTP || proto == server.ProtoLength || proto == server.ProtoUDPEcho) && engine == server.EngineLoop {
			continue // Validate refuses it: TestValidate
		}
		t.Run(engine, func(t *testing.T) {
			srv, served := start(t, server.Options{Engine: engine, Proto: proto})
			test(t, srv, served)
		})
	}
}

func dial(t *testing.T, srv server.Server) net.Conn {
	conn, err := net.Dial("tcp", srv.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// exchange sends text and wants it back.
func exchange(t *testing.T, conn net.Conn, text string) {
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
	back := make([]byte, len(text))
	_, err = io.ReadFull(conn, back)
	require.NoError(t, err)
	require.Equal(t, text, string(back))
}

// requireRefused waits until new clients are.
func requireRefused(t *testing.T, srv server.Server) {
	require.Eventually(t, func() bool {
		late, err := net.Dial("tcp", srv.Addr().String())
		if err == nil {
			late.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond, "a new client is refused")
}

func TestEcho(t *testing.T) {
	onEveryEngine(t, server.ProtoEcho, func(t *testing.T, srv server.Server, _ <-chan error) {
		conn := dial(t, srv)
		exchange(t, conn, "no newline")
		exchange(t, conn, strings.Repeat("0123456789", 2000))
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		rest, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Empty(t, rest)
	})
}

func TestLine(t *testing.T) {
	onEveryEngine(t, server.ProtoLine, func(t *testing.T, srv server.Server, _ <-chan error) {
		conn := dial(t, srv)
		exchange(t, conn, "one\ntwo\n\nfour\n")
		exchange(t, conn, strings.Repeat("x", server.MaxLine-1)+"\n")

		_, err := io.WriteString(conn, "whole\nhalf")
		require.NoError(t, err)
		reader := bufio.NewReader(conn)
		line, err := reader.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "whole\n", line)
		_, _ = io.WriteString(conn, strings.Repeat("x", 1<<20)) // may be cut short
		_, err = reader.ReadByte()
		require.Error(t, err, "a line that is too long ends the connection")
	})
}

// Messages come back as they are, also many at once and large ones. One that is too large ends its connection.
func TestLength(t *testing.T) {
	onEveryEngine(t, server.ProtoLength, func(t *testing.T, srv server.Server, _ <-chan error) {
		conn := dial(t, srv)
		message := func(n int) string {
			return string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat("m", n)
		}
		exchange(t, conn, message(5))
		exchange(t, conn, strings.Repeat(message(0)+message(100)+message(3000), 50))
		exchange(t, conn, message(server.MaxLine-4)+message(server.MaxLine-3)+message(server.MaxLine))

		large := message(4) + message(server.MaxMessage) + message(1)
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(conn, large)
			sent <- err
		}()
		back := make([]byte, len(large))
		_, err := io.ReadFull(conn, back)
		require.NoError(t, err)
		require.True(t, string(back) == large)
		require.NoError(t, <-sent)

		_, err = io.WriteString(conn, message(7)+string(binary.BigEndian.AppendUint32(nil, server.MaxMessage+1)))
		require.NoError(t, err)
		rest, _ := io.ReadAll(conn)
		require.Equal(t, message(7), string(rest))
	})
}

func TestShutdownWaits(t *testing.T) {
	onEveryEngine(t, server.ProtoEcho, func(t *testing.T, srv server.Server, served <-chan error) {
		conn := dial(t, srv)
		exchange(t, conn, "before")
		down := make(chan error, 1)
		go func() { down <- srv.Shutdown(context.Background()) }()
		requireRefused(t, srv)
		if strings.HasSuffix(t.Name(), server.EngineCoserver) {
			_, err := conn.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err, "an idle connection is ended")
		} else {
			exchange(t, conn, "during")
			require.Empty(t, down)
			require.NoError(t, conn.Close())
		}
		require.NoError(t, <-down)
		require.NoError(t, <-served)
	})
}

func TestShutdownForces(t *testing.T) {
	onEveryEngine(t, server.ProtoEcho, func(t *testing.T, srv server.Server, served <-chan error) {
		conn := dial(t, srv)
		exchange(t, conn, "before")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if err := srv.Shutdown(ctx); strings.HasSuffix(t.Name(), server.EngineCoserver) {
			require.NoError(t, err, "an idle connection needs no force")
		} else {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.NoError(t, <-served)
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err)
	})
}

// Retire ends nobody: connections go on until they end by themselves, or it gives up.
func TestRetire(t *testing.T) {
	onEveryEngine(t, server.ProtoEcho, func(t *testing.T, srv server.Server, served <-chan error) {
		conn := dial(t, srv)
		exchange(t, conn, "before")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, srv.Retire(ctx), context.DeadlineExceeded)
		requireRefused(t, srv)
		exchange(t, conn, "after")
		down := make(chan error, 1)
		go func() { down <- srv.Retire(context.Background()) }()
		exchange(t, conn, "during")
		require.Empty(t, down)
		require.NoError(t, conn.Close())
		require.NoError(t, <-down)
		require.NoError(t, srv.Shutdown(t.Context()))
		require.NoError(t, <-served)
	})
}

// Each engine serves a listener that it is given, and closes it.
func TestListener(t *testing.T) {
	for _, engine := range server.Engines() {
		for _, proto := range []string{server.ProtoEcho, server.ProtoHTTP} {
			t.Run(engine+" "+proto, func(t *testing.T) {
				leak.Check(t)
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				srv, err := server.Listen(server.Options{Engine: engine, Proto: proto, Listener: listener})
				if engine == server.EngineLoop && proto == server.ProtoHTTP {
					require.Error(t, err)
					require.ErrorIs(t, listener.Close(), net.ErrClosed)
					return
				}
				require.NoError(t, err)
				require.Equal(t, listener.Addr(), srv.Addr())
				served := make(chan error, 1)
				go func() { served <- srv.Serve() }()
				conn := dial(t, srv)
				if proto == server.ProtoEcho {
					exchange(t, conn, "hello")
				} else {
					_, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
					require.NoError(t, err)
					answer, err := io.ReadAll(conn)
					require.NoError(t, err)
					require.Contains(t, string(answer), "hello, world")
				}
				require.NoError(t, conn.Close())
				require.NoError(t, srv.Shutdown(t.Context()))
				require.NoError(t, <-served)
				require.ErrorIs(t, listener.Close(), net.ErrClosed)
			})
		}
	}
}

func TestValidate(t *testing.T) {
	good := server.Options{Engine: "net", Proto: "echo", Addr: "127.0.0.1:0"}
	require.NoError(t, good.Validate())
	block := server.Block{Kind: server.BlockSleep, For: time.Millisecond}
	for want, change := range map[string]func(*server.Options){
		`engine: unknown engine "nginx"`:        func(o *server.Options) { o.Engine = "nginx" },
		`proto: unknown protocol "gopher"`:      func(o *server.Options) { o.Proto = "gopher" },
		"addr: address localhost: missing port": func(o *server.Options) { o.Addr = "localhost" },
		"loops: -1 is negative":                 func(o *server.Options) { o.Loops = -1 },
		"loops: engine net has no event loops":  func(o *server.Options) { o.Loops = 2 },
		"carrier: engine net has no carriers":   func(o *server.Options) { o.Carrier = server.CarrierInline },
		"proto: engine loop does not speak length": func(o *server.Options) {
			o.Engine, o.Proto = server.EngineLoop, server.ProtoLength
		},
		"proto: engine loop does not speak http": func(o *server.Options) { o.Engine, o.Proto = server.EngineLoop, server.ProtoHTTP },
		"carrier: net/http runs its handlers itself": func(o *server.Options) {
			o.Engine, o.Proto, o.Carrier = server.EngineCoserver, server.ProtoHTTP, server.CarrierChannel
		},
		`carrier: unknown carrier "pigeon" (there ar`: func(o *server.Options) { o.Carrier = "pigeon" },
		"proto: engine loop does not speak block: its callbacks must not block": func(o *server.Options) {
			o.Engine, o.Proto, o.Block = server.EngineLoop, server.ProtoBlock, block
		},
		"proto: engine loop does not speak udp-echo":        func(o *server.Options) { o.Engine, o.Proto = server.EngineLoop, server.ProtoUDPEcho },
		"tls: it is for connections":                        func(o *server.Options) { o.Proto, o.TLS = server.ProtoUDPEcho, new(tls.Config) },
		"block: the handlers of protocol echo do not block": func(o *server.Options) { o.Block = block },
		`block: unknown way to block "" (there are: sleep, mutex, cpu, park)`: func(o *server.Options) {
			o.Proto, o.Block = server.ProtoBlock, server.Block{For: time.Second}
		},
		"for: 0s is not more than 0": func(o *server.Options) {
			o.Proto, o.Block = server.ProtoBlock, server.Block{Kind: server.BlockCPU}
		},
		"for: -1ns is not more than 0": func(o *server.Options) {
			o.Proto, o.Block = server.ProtoBlock, server.Block{Kind: server.BlockCPU, For: -1}
		},
		"take-over-after: -1s is negative": func(o *server.Options) { o.Engine, o.TakeOverAfter = server.EngineCoserver, -time.Second },
		"take-over-after: engine net takes no loops over": func(o *server.Options) {
			o.TakeOverAfter = time.Millisecond
		},
	} {
		t.Run(want, func(t *testing.T) {
			o := good
			change(&o)
			_, err := server.Listen(o)
			require.ErrorContains(t, err, want)
		})
	}
}
