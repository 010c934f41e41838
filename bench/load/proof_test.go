//go:build linux

package load_test

import (
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench"
	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/server"
)

func startChild(t *testing.T, proto string) *bench.Child {
	t.Setenv(childMode, proto)
	self, err := os.Executable()
	require.NoError(t, err)
	child, err := bench.StartChild(t.Context(), self)
	require.NoError(t, err)
	t.Cleanup(child.Stop)
	return child
}

// A server that stands still for a second of four makes a quarter of the operations wait, which shows in how long after its planned start
// each has had its answer; but only one on each connection had been sent when it stood still.
func TestStopShowsInResponseAlone(t *testing.T) {
	child := startChild(t, server.ProtoEcho)
	o := quick(&net.TCPAddr{})
	o.Addr, o.Conns, o.Rate, o.Window = child.Addr, 10, 500, 4*time.Second
	o.OnPhase = func(p load.Phase) error {
		if p.Name != load.PhaseWindow {
			return nil
		}
		time.AfterFunc(time.Second, func() { syscall.Kill(child.PID(), syscall.SIGSTOP) })
		time.AfterFunc(2*time.Second, func() { syscall.Kill(child.PID(), syscall.SIGCONT) })
		return nil
	}
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	op := run.Operations[load.WorkloadEcho]
	require.EqualValues(t, 2000, op.Count)
	require.Greater(t, op.Response.ValueAtQuantile(90), int64(0.4e9))
	require.Greater(t, op.Response.ValueAtQuantile(99), int64(0.8e9))
	require.Less(t, op.Service.ValueAtQuantile(90), int64(0.1e9))
	require.Greater(t, op.Service.Max(), int64(0.8e9), "it is not hidden either: those that were on their way have waited")
	require.Less(t, run.Generator.Late, int64(0.1e9), "the generator itself was on time")
}

// What a server does by itself is measured to within 2 %.
func TestKnownDelays(t *testing.T) {
	for _, rate := range []float64{0, 150} {
		// A machine that is busy with something else adds delays that nobody knows. A generator that measures wrongly does so each time.
		var worst float64
		for try := 0; try < 5; try++ {
			if worst = knownDelays(t, rate); worst <= 0.02 {
				break
			}
			t.Logf("rate %v: off by %.1f %%", rate, 100*worst)
		}
		require.LessOrEqual(t, worst, 0.02, "rate %v", rate)
	}
}

// knownDelays measures a server that knows its delays, and returns by how much the measured distribution is off, as a share.
func knownDelays(t *testing.T, rate float64) (worst float64) {
	var mu sync.Mutex
	known := result.NewHistogram()
	addr := startHandler(t, func(conn net.Conn) {
		message := make([]byte, 64)
		for {
			if _, err := io.ReadFull(conn, message); err != nil {
				return
			}
			begin := time.Now()
			time.Sleep(60*time.Millisecond + rand.N(80*time.Millisecond)) // the delay is what is measured
			mu.Lock()
			known.Record(int64(time.Since(begin)))
			mu.Unlock()
			if _, err := conn.Write(message); err != nil {
				return
			}
		}
	})
	o := quick(addr)
	o.Conns, o.Warmup, o.Window, o.Rate = 40, 0, 4*time.Second, rate
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	mu.Lock()
	service := run.Operations[load.WorkloadEcho].Service
	off := func(want, got float64) { worst = max(worst, math.Abs(got-want)/want) }
	for _, q := range []float64{25, 50, 75, 90} {
		off(float64(known.ValueAtQuantile(q)), float64(service.ValueAtQuantile(q)))
	}
	off(known.Mean(), service.Mean())
	mu.Unlock()
	return worst
}

func TestNoAllocationPerOperation(t *testing.T) {
	for name, change := range map[string]func(*load.Options){
		"closed":    func(o *load.Options) {},
		"open":      func(o *load.Options) { o.Rate, o.Pace = 5000, load.PacePoisson },
		"sizes":     func(o *load.Options) { o.Size = sizes(t, "20:9,500-3000:1") },
		"datagrams": func(o *load.Options) { o.Network, o.Depth = "udp", 4 },
	} {
		t.Run(name, func(t *testing.T) {
			proto := server.ProtoEcho
			if name == "datagrams" {
				proto = server.ProtoUDPEcho
			}
			child := startChild(t, proto)
			o := quick(&net.TCPAddr{})
			o.Addr, o.Conns, o.Window = child.Addr, 20, 700*time.Millisecond
			o.Warmup = 200 * time.Millisecond
			change(&o)
			var before, after runtime.MemStats
			o.OnPhase = func(p load.Phase) error {
				switch p.Name {
				case load.PhaseWindow:
					runtime.ReadMemStats(&before)
				case load.PhaseDrain:
					runtime.ReadMemStats(&after)
				}
				return nil
			}
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err)
			operations := run.Windows[0].Operations
			require.Greater(t, operations, int64(1000))
			require.Less(t, float64(after.Mallocs-before.Mallocs)/float64(operations), 0.1)
		})
	}
}

// A generator that is kept from its work says so.
func TestGeneratorLimited(t *testing.T) {
	o := quick(startServer(t, server.ProtoEcho))
	o.Rate, o.Conns, o.Depth, o.Window = 5e7, 5, 8, 300*time.Millisecond // no machine does that
	o.MaxLate, o.MinAchieved, o.MaxBusy, o.Drain = 0, 0, 0, 50*time.Millisecond
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.NotEmpty(t, run.Invalid)
	require.Contains(t, run.Invalid[0], "generator-limited: of 100 operations one began ")
	require.Positive(t, run.Generator.Late)
}

// What is counted is what the server has done, by its own count, and within the time that it took.
func TestCountsAreTheServers(t *testing.T) {
	redis := miniredis.RunT(t)
	o := quick(&net.TCPAddr{})
	o.Addr, o.Protocol, o.Warmup, o.Window, o.Windows = redis.Addr(), load.ProtocolRESPSet, 0, 300*time.Millisecond, 2
	before := redis.CommandCount()
	var begin time.Time
	o.OnPhase = func(p load.Phase) error {
		if p.Name == load.PhaseDrain {
			begin = p.Begin
		}
		return nil
	}
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	took := time.Since(begin).Seconds()
	require.EqualValues(t, redis.CommandCount()-before, run.Check.Checked)
	require.Equal(t, run.Check.Checked, run.Operations[load.ProtocolRESPSet].Count, "without a warm-up all of them are measured")
	var ended int64
	var seconds float64
	for _, window := range run.Windows {
		ended += window.Messages
		seconds += window.Seconds
	}
	require.InDelta(t, run.Check.Checked, ended, float64(o.Conns), "those that were in flight at the end")
	require.GreaterOrEqual(t, seconds, 0.6)
	require.LessOrEqual(t, seconds, took)
}
