package coserver_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// goroutinesAt says how many goroutines have a stack; the first has the head of the profile before it.
var goroutinesAt = regexp.MustCompile(`(?m)^(\d+) @`)

// goroutinesOf returns how many goroutines have the labels of a connection.
func goroutinesOf(t *testing.T, client net.Conn) int {
	t.Helper()
	var profile strings.Builder
	require.NoError(t, pprof.Lookup("goroutine").WriteTo(&profile, 1))
	labels := fmt.Sprintf(`{"remote":"%s", "server":"%s"}`, client.LocalAddr(), client.RemoteAddr())
	count := 0
	for _, stack := range strings.Split(profile.String(), "\n\n") {
		if strings.Contains(stack, labels) {
			match := goroutinesAt.FindStringSubmatch(stack)
			require.NotNil(t, match, stack)
			n, err := strconv.Atoi(match[1])
			require.NoError(t, err)
			count += n
		}
	}
	return count
}

// Handlers have labels in profiles if their server wants it, whatever carries them, and so has what they offload. Nobody else has,
// and nothing of it stays.
func TestLabels(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		engine := newEngine(t, coserver.EngineConfig{Loops: 1})
		until, offloaded := make(chan struct{}), make(chan struct{}, 1)
		release := sync.OnceFunc(func() { close(until) })
		t.Cleanup(release) // or a failure here would make the engine wait for ever
		handler := func(c *coserver.Conn) error {
			for {
				line, err := c.ReadSlice('\n')
				if err != nil {
					return err
				}
				if string(line) == "offload\n" {
					var group coserver.Group
					group.Offload(func() error { offloaded <- struct{}{}; <-until; return nil })
					if err := group.Wait(); err != nil {
						return err
					}
				}
				if _, err := c.Write(line); err != nil {
					return err
				}
			}
		}
		addr := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Labels: true, Handler: handler}, "tcp")
		plain := dial(t, start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: handler}, "tcp"))
		a, b := dial(t, addr), dial(t, addr)
		for _, c := range []net.Conn{a, b, plain} {
			exchange(t, c, "x\n")
		}
		require.Equal(t, 1, goroutinesOf(t, a), "not the loop, for one")
		require.Equal(t, 1, goroutinesOf(t, b))
		require.Zero(t, goroutinesOf(t, plain))
		_, err := io.WriteString(a, "offload\n")
		require.NoError(t, err)
		receive(t, offloaded)
		if carrier == coserver.Inline {
			require.Equal(t, 2, goroutinesOf(t, a))
		}
		release()
		_, err = io.ReadFull(a, make([]byte, len("offload\n")))
		require.NoError(t, err)
		require.NoError(t, a.Close())
		eventually(t, func() bool { return goroutinesOf(t, a) == 0 }, "the pool's goroutines go on without")
		require.Equal(t, 1, goroutinesOf(t, b))
	})
}

// A processor profile shows for whom a handler computes.
func TestLabelsInAProcessorProfile(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		client := dial(t, start(t, &coserver.Server{Carrier: carrier, Labels: true, Handler: func(c *coserver.Conn) error {
			for {
				data, err := c.Next()
				if err != nil {
					return err
				}
				for begin, sum := time.Now(), uint64(1); time.Since(begin) < 20*time.Millisecond; sum = sum*3 + 1 {
					if sum == 0 {
						return errTest // it never is; so the sum is needed
					}
				}
				if _, err := c.Write(data); err != nil {
					return err
				}
			}
		}}, "tcp"))
		eventually(t, func() bool {
			var profile bytes.Buffer
			require.NoError(t, pprof.StartCPUProfile(&profile))
			for range 3 {
				exchange(t, client, "x")
			}
			pprof.StopCPUProfile()
			unzipped, err := gzip.NewReader(&profile)
			require.NoError(t, err)
			all, err := io.ReadAll(unzipped)
			require.NoError(t, err)
			return bytes.Contains(all, []byte(client.LocalAddr().String()))
		}, "the address of the client is in the profile")
	})
}
