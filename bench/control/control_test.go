package control_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/control"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// serve runs handler at a socket, and returns a client of it.
func serve(t *testing.T, network, address string, handler http.Handler) *control.Client {
	listener, err := net.Listen(network, address)
	require.NoError(t, err)
	server := http.Server{Handler: handler}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	address = listener.Addr().String()
	if network == "unix" {
		address = "unix:" + address
	}
	client, err := control.NewClient(address)
	require.NoError(t, err)
	t.Cleanup(func() {
		client.Close()
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return client
}

func TestState(t *testing.T) {
	sockets := map[string]string{"tcp": "127.0.0.1:0"}
	if runtime.GOOS != "windows" {
		sockets["unix"] = filepath.Join(t.TempDir(), "control")
	}
	for network, address := range sockets {
		t.Run(network, func(t *testing.T) {
			client := serve(t, network, address, control.Handler())
			before, err := client.State(t.Context())
			require.NoError(t, err)
			require.Equal(t, os.Getpid(), before.PID)
			require.Equal(t, runtime.Version(), before.Go)
			require.Equal(t, runtime.GOMAXPROCS(0), before.GOMAXPROCS)

			const more = 50
			stop := make(chan struct{})
			defer close(stop)
			for range more {
				go func() { <-stop }()
			}
			block := make([]byte, 32<<20)
			runtime.GC()
			runtime.GC()
			after, err := client.State(t.Context())
			require.NoError(t, err)
			runtime.KeepAlive(block)
			require.Greater(t, after.Runtime.Goroutines, more) // others may have ended meanwhile
			require.Greater(t, after.Runtime.Heap, int64(len(block)))
			require.Less(t, after.Runtime.Heap, int64(len(block))*2)
			require.Positive(t, after.Runtime.Stack)
			require.GreaterOrEqual(t, after.Runtime.GCCycles, before.Runtime.GCCycles+2)
			require.Greater(t, after.Runtime.GCPauses, before.Runtime.GCPauses)
			require.Greater(t, after.Runtime.GCMaxPause, 0.0)
			require.LessOrEqual(t, after.Runtime.GCMaxPause, 60.0)
			require.Greater(t, after.Runtime.GCCPU, before.Runtime.GCCPU)
		})
	}
}

func TestProfile(t *testing.T) {
	client := serve(t, "tcp", "127.0.0.1:0", control.Handler())
	begin := time.Now()
	profile, err := client.Profile(t.Context(), 50*time.Millisecond)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(begin), 50*time.Millisecond)
	unpacked, err := gzip.NewReader(bytes.NewReader(profile))
	require.NoError(t, err)
	text, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	require.Contains(t, string(text), "nanoseconds")

	for length, want := range map[time.Duration]string{
		0: "for: 0s is not between 0 and 10m0s", -time.Second: "for: -1s is not", time.Hour: "for: 1h0m0s is not",
	} {
		_, err := client.Profile(t.Context(), length)
		require.ErrorContains(t, err, "400 Bad Request: "+want)
	}
	require.NoError(t, client.EndProfile(t.Context()), "there is none")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		profile, err := client.Profile(t.Context(), time.Minute)
		assert.NoError(t, err)
		assert.NotEmpty(t, profile)
	}()
	for over := false; !over; { // it may not have begun yet
		require.NoError(t, client.EndProfile(t.Context()))
		select {
		case <-ended:
			over = true
		case <-time.After(time.Millisecond):
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = client.Profile(ctx, time.Minute)
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { // whoever has gone does not keep the profiler
		_, err := client.Profile(t.Context(), time.Millisecond)
		return err == nil
	}, 20*time.Second, time.Millisecond)
}

func TestOtherServers(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"not found": {http.NotFound, "404 Not Found: 404 page not found"},
		"no JSON":   {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }, "invalid character 'h'"},
		"no pid":    {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, `"{}" has no pid`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := serve(t, "tcp", "127.0.0.1:0", c.answer).State(t.Context())
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "control: state of the server at 127.0.0.1:")
		})
	}
}

func TestAddresses(t *testing.T) {
	for address, want := range map[string][2]string{
		"127.0.0.1:80": {"tcp", "127.0.0.1:80"}, ":0": {"tcp", ":0"}, "[::1]:1": {"tcp", "[::1]:1"}, "unix:/run/x": {"unix", "/run/x"}, "unix:x:1": {"unix", "x:1"},
	} {
		network, rest, err := control.SplitAddress(address)
		require.NoError(t, err)
		require.Equal(t, want, [2]string{network, rest})
	}
	for address, want := range map[string]string{"": "missing port", "/run/x": "missing port", "unix:": "unix: no path follows", "::1": "too many colons"} {
		_, err := control.NewClient(address)
		require.ErrorContains(t, err, want)
	}
}
