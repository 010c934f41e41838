package load_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys/kerneltest"
)

// childMode, in the environment, makes this test binary a server.
const childMode = "LOAD_TEST_CHILD"

func TestMain(m *testing.M) {
	kerneltest.Substitute()
	proto := os.Getenv(childMode)
	if proto == "" {
		leak.Main(m)
		return
	}
	srv, err := server.Listen(server.Options{Engine: server.EngineNet, Proto: proto, Addr: "127.0.0.1:0"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin) // ends with whoever has started this
		os.Exit(0)
	}()
	fmt.Printf("listening on %v\n", srv.Addr())
	srv.Serve()
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// quick is a run that is long enough to see everything happen, and that no slow machine makes invalid.
func quick(addr net.Addr) load.Options {
	return load.Options{
		Addr: addr.String(), Network: addr.Network(), Conns: 5, FailFast: true,
		Warmup: 20 * time.Millisecond, Window: 300 * time.Millisecond, Drain: patience,
		MaxLate: -1, MinAchieved: -1, MaxBusy: -1,
	}
}

func startServer(t *testing.T, proto string) net.Addr { return startEngine(t, server.EngineNet, proto) }

func startEngine(t *testing.T, engine, proto string) net.Addr {
	return start(t, server.Options{Engine: engine, Proto: proto, Addr: "127.0.0.1:0"})
}

func start(t *testing.T, o server.Options) net.Addr {
	srv, err := server.Listen(o)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve() }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		require.NoError(t, <-served)
	})
	return srv.Addr()
}

// handle runs handler for each connection of listener, and closes it when handler returns.
func handle(t *testing.T, listener net.Listener, handler func(net.Conn)) net.Addr {
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				handler(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return listener.Addr()
}

func startHandler(t *testing.T, handler func(net.Conn)) net.Addr {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return handle(t, listener, handler)
}
