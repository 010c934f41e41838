//go:build linux

package load_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
)

// Connections come from all sources and go to all ports, in turn; and shards have each its part of them.
func TestSourcesPortsAndShards(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]int) // by source and port
	var ports []int
	for range 2 {
		addr := startHandler(t, func(conn net.Conn) {
			mu.Lock()
			seen[fmt.Sprint(conn.RemoteAddr().(*net.TCPAddr).IP, conn.LocalAddr().(*net.TCPAddr).Port)]++
			mu.Unlock()
			io.Copy(conn, conn)
		})
		ports = append(ports, addr.(*net.TCPAddr).Port)
	}
	o := quick(&net.TCPAddr{})
	o.Addr = fmt.Sprintf("127.0.0.1:%d,%d", ports[0], ports[1])
	o.Conns, o.Sources, o.Rate, o.ID = 26, []string{"127.0.3.1", "127.0.2.0/30"}, 400, "one"
	runs := make([]*result.Run, 3)
	errs := make([]error, 3)
	var all sync.WaitGroup
	for shard := range runs {
		part := o
		part.Shard = result.Shard{Index: shard + 1, Of: 3}
		all.Go(func() { runs[shard], errs[shard] = load.Run(t.Context(), part) })
	}
	all.Wait()
	for shard, run := range runs {
		require.NoError(t, errs[shard])
		requireFaultless(t, run)
		require.Equal(t, []int{9, 9, 8}[shard], run.Connect.Made)
		require.InEpsilon(t, 400*float64(run.Connect.Made)/26, run.Target, 1e-9)
	}
	merged, err := result.Merge(runs)
	require.NoError(t, err)
	require.Equal(t, 26, merged.Connect.Made)
	require.InEpsilon(t, 400, merged.Target, 1e-9)
	require.EqualValues(t, runs[0].Operations["echo"].Count+runs[1].Operations["echo"].Count+runs[2].Operations["echo"].Count, merged.Operations["echo"].Count)

	mu.Lock()
	defer mu.Unlock()
	require.Len(t, seen, 6, "three sources, two ports")
	for key, count := range seen {
		require.InDelta(t, 26.0/6, count, 1, key)
	}
}

func TestBeginIsKept(t *testing.T) {
	o := quick(startHandler(t, func(conn net.Conn) { io.Copy(conn, conn) }))
	at := time.Now().Add(300 * time.Millisecond)
	var begin time.Time
	o.Begin = func(context.Context) (time.Time, error) { return at, nil }
	o.OnPhase = func(p load.Phase) error { begin = p.Begin; return nil }
	_, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.WithinDuration(t, at.Add(o.Warmup), begin, time.Millisecond)

	o.Begin = func(context.Context) (time.Time, error) { return at, nil }
	_, err = load.Run(t.Context(), o)
	require.ErrorContains(t, err, "start-at: traffic was to begin")
}

func TestAddressesThatAreNone(t *testing.T) {
	for want, change := range map[string]func(*load.Options){
		"addr: address 127.0.0.1:9-7: 9-7 is no range of ports": func(o *load.Options) { o.Addr = "127.0.0.1:9-7" },
		"addr: address x: missing port":                         func(o *load.Options) { o.Addr = "x" },
		`source: "here" is no address`:                          func(o *load.Options) { o.Sources = []string{"here"} },
		`source: "127.0.0.0/40" is no prefix`:                   func(o *load.Options) { o.Sources = []string{"127.0.0.0/40"} },
		"source: addresses of IPv4 and IPv6":                    func(o *load.Options) { o.Sources = []string{"127.0.0.1", "::1"} },
		"source: a unix socket":                                 func(o *load.Options) { o.Network, o.Sources = "unix", []string{"127.0.0.1"} },
		"shard: 3 of 2 does not exist":                          func(o *load.Options) { o.Shard = result.Shard{Index: 3, Of: 2} },
		"shard: workload broadcast": func(o *load.Options) {
			o.Shard, o.Workload, o.Active = result.Shard{Index: 1, Of: 2}, load.WorkloadBroadcast, 2
		},
	} {
		o := quick(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		change(&o)
		require.ErrorContains(t, o.Validate(), want)
	}
	o := quick(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	o.Sources = []string{"::1"}
	_, err := load.Run(t.Context(), o)
	require.ErrorContains(t, err, "source: ::1 cannot connect to 127.0.0.1")
	o.Sources = []string{"192.0.2.1"}
	_, err = load.Run(t.Context(), o)
	require.ErrorContains(t, err, "bind to 192.0.2.1: bind: cannot assign requested address")
}
