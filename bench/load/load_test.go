//go:build linux

package load_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/server"
)

func sizes(t *testing.T, text string) load.Sizes {
	t.Helper()
	s, err := load.ParseSizes(text)
	require.NoError(t, err)
	return s
}

// requireSound wants a run without any fault, whose counts agree with each other.
func requireSound(t *testing.T, o load.Options, run *result.Run) {
	t.Helper()
	require.Empty(t, run.Invalid)
	require.Empty(t, run.Errors)
	require.Empty(t, run.Faults)
	require.Equal(t, result.Check{Checked: run.Check.Checked}, run.Check)
	require.Equal(t, o.Conns, run.Connect.Made)
	require.EqualValues(t, o.Conns, run.Connect.Latency.TotalCount())
	op := run.Operations[load.WorkloadEcho]
	require.NotNil(t, op)
	require.Zero(t, op.Censored)
	require.Positive(t, op.Count)
	require.Equal(t, op.Count, op.Response.TotalCount())
	require.Equal(t, op.Count, op.Service.TotalCount())
	batch := max(o.Batch, 1)
	require.Len(t, run.Windows, max(o.Windows, 1))
	var ended int64
	for i, window := range run.Windows {
		require.InDelta(t, window.Operations*int64(batch), window.Messages, float64(o.Conns*batch*max(o.Depth, 64)))
		require.Positive(t, window.Seconds) // how long it was, not how long it was to be
		require.InDelta(t, float64(i)*o.Window.Seconds(), window.Begin, 1e-9)
		require.Zero(t, window.Errors)
		ended += window.Operations
	}
	require.Positive(t, ended)
	// All that began within the windows is in the histogram, and as much of the rest as was in flight at either end.
	require.InDelta(t, ended, op.Count, float64(o.Conns*max(o.Depth, 64))+float64(ended)/2)
	require.Positive(t, run.Check.Checked)
	require.True(t, json.Valid(run.Config))
}

func TestRunMeasures(t *testing.T) {
	for _, c := range []struct {
		name, proto string
		change      func(*load.Options)
	}{
		{"closed", server.ProtoEcho, func(*load.Options) {}},
		{"a byte", server.ProtoEcho, func(o *load.Options) { o.Size = load.FixedSize(1) }},
		{"several in flight", server.ProtoEcho, func(o *load.Options) { o.Depth = 7 }},
		{"batches", server.ProtoEcho, func(o *load.Options) { o.Batch, o.Depth = 3, 2 }},
		{"max", server.ProtoEcho, func(o *load.Options) { o.Pace = load.PaceMax }},
		{"lines", server.ProtoLine, func(o *load.Options) { o.Framing, o.Batch = load.FramingLine, 16 }},
		{"short lines", server.ProtoLine, func(o *load.Options) { o.Framing, o.Size = load.FramingLine, load.FixedSize(2) }},
		{"length", server.ProtoLength, func(o *load.Options) { o.Framing, o.Batch = load.FramingLength, 16 }},
		{"length without a body", server.ProtoLength, func(o *load.Options) { o.Framing, o.Size = load.FramingLength, load.FixedSize(4) }},
		{"threads", server.ProtoEcho, func(o *load.Options) { o.Threads = 3 }},
		{"constant", server.ProtoEcho, func(o *load.Options) { o.Rate = 2000 }},
		{"poisson", server.ProtoEcho, func(o *load.Options) { o.Rate, o.Pace = 2000, load.PacePoisson }},
		{"uniform", server.ProtoEcho, func(o *load.Options) { o.Rate, o.Pace, o.Threads = 2000, load.PaceUniform, 2 }},
		{"windows", server.ProtoEcho, func(o *load.Options) { o.Windows, o.Warmup, o.Window = 3, 0, 300*time.Millisecond }},
		{"a range of sizes", server.ProtoEcho, func(o *load.Options) { o.Size, o.Depth = sizes(t, "1-3000"), 4 }},
		{"sizes with weights", server.ProtoLength, func(o *load.Options) { o.Framing, o.Size = load.FramingLength, sizes(t, "10:9,50000:1") }},
		{"lognormal sizes", server.ProtoLine, func(o *load.Options) { o.Framing, o.Size = load.FramingLine, sizes(t, "lognormal:100,1,4000") }},
		{"more than a socket buffer takes", server.ProtoEcho, func(o *load.Options) {
			o.Size, o.Batch, o.Window = load.FixedSize(1<<18), 4, time.Second
		}},
		{"connect rate", server.ProtoEcho, func(o *load.Options) { o.ConnectRate, o.Conns = 200, 20 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := quick(startServer(t, c.proto))
			c.change(&o)
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err)
			requireSound(t, o, run)
			op := run.Operations[load.WorkloadEcho]
			if o.Rate == 0 {
				require.Zero(t, op.Lag.TotalCount())
				return
			}
			require.Equal(t, op.Count, op.Lag.TotalCount())
			require.InDelta(t, o.Rate*o.Window.Seconds(), op.Count, o.Rate*o.Window.Seconds()/4, "what was planned has happened")
			require.Equal(t, o.Rate, run.Target)
		})
	}
}

func TestConnectRateIsKept(t *testing.T) {
	o := quick(startServer(t, server.ProtoEcho))
	o.ConnectRate, o.Conns, o.Threads = 100, 30, 2
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.GreaterOrEqual(t, run.Connect.Seconds, 14.0/50)
}

func TestRunOverUnix(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "echo"))
	require.NoError(t, err)
	o := quick(handle(t, listener, func(conn net.Conn) { io.Copy(conn, conn) }))
	o.Conns = 300 // more than are connecting at the same time
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	requireSound(t, o, run)
}

func TestRunToldOfPhasesAndSeconds(t *testing.T) {
	o := quick(startServer(t, server.ProtoEcho))
	o.Windows, o.Settle, o.Rate, o.Tags = 2, 10*time.Millisecond, 1000, map[string]string{"why": "test"}
	var phases []string
	var count int64
	var windows []int
	o.OnPhase = func(p load.Phase) error {
		phases = append(phases, p.Name)
		require.Equal(t, len(phases) > 4-1, !p.Begin.IsZero(), p.Name)
		return nil
	}
	o.OnInterval = func(s load.Second) {
		windows = append(windows, s.Window)
		if s.Window >= 0 {
			count += s.Operations[load.WorkloadEcho].Count
		}
	}
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{load.PhaseConnect, load.PhaseSettle, load.PhaseIdle, load.PhaseWarmup,
		load.PhaseWindow, load.PhaseWindow, load.PhaseDrain, load.PhaseEnd}, phases)
	require.Equal(t, []int{-1, 0, 1, 2}, windows)
	require.Equal(t, run.Operations[load.WorkloadEcho].Count, count)
	require.Len(t, run.Intervals, 3)
	require.Negative(t, run.Intervals[0].Begin)
	require.Equal(t, o.Conns, run.Intervals[1].Conns)
	require.Equal(t, o.Tags, run.Tags)
	require.Positive(t, run.Generator.CPUUser+run.Generator.CPUSystem)
	require.Positive(t, run.Generator.MaxRSS)
}

func TestPhaseEndsRun(t *testing.T) {
	for _, name := range []string{load.PhaseConnect, load.PhaseIdle, load.PhaseWindow} {
		o := quick(startServer(t, server.ProtoEcho))
		over := errors.New("over")
		o.OnPhase = func(p load.Phase) error {
			if p.Name == name {
				return over
			}
			return nil
		}
		_, err := load.Run(t.Context(), o)
		require.ErrorIs(t, err, over)
	}
}

func TestRunRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	for _, fast := range []bool{true, false} {
		o := quick(listener.Addr())
		o.FailFast = fast
		_, err = load.Run(t.Context(), o)
		require.ErrorContains(t, err, "connection 1 of 5 to "+listener.Addr().String())
		require.ErrorContains(t, err, "connect: connection refused")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	o := quick(startServer(t, server.ProtoEcho))
	o.Window = time.Minute
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	o.OnPhase = func(p load.Phase) error {
		if p.Name == load.PhaseWindow {
			cancel(over)
		}
		return nil
	}
	_, err := load.Run(ctx, o)
	require.ErrorIs(t, err, over)
}

func TestOptionsThatCannotBeUsed(t *testing.T) {
	for field, change := range map[string]func(*load.Options){
		"addr":         func(o *load.Options) { o.Addr = "" },
		"addr:":        func(o *load.Options) { o.Addr = "127.0.0.1" },
		"network":      func(o *load.Options) { o.Network = "ipx" },
		"conns":        func(o *load.Options) { o.Conns = -1 },
		"conns:":       func(o *load.Options) { o.Conns = 1 << 23 },
		"threads":      func(o *load.Options) { o.Threads = 6 },
		"workload":     func(o *load.Options) { o.Workload = "work" },
		"framing":      func(o *load.Options) { o.Framing = "golden" },
		"size":         func(o *load.Options) { o.Framing, o.Size = load.FramingLine, load.FixedSize(1) },
		"batch":        func(o *load.Options) { o.Batch = -1 },
		"depth":        func(o *load.Options) { o.Depth = 1 << 30 },
		"pace":         func(o *load.Options) { o.Pace = "slow" },
		"rate":         func(o *load.Options) { o.Pace = load.PacePoisson },
		"rate:":        func(o *load.Options) { o.Pace, o.Rate = load.PaceClosed, 1 },
		"min-achieved": func(o *load.Options) { o.MinAchieved = 1.1 },
		"settle":       func(o *load.Options) { o.Settle = -1 },
		"warmup":       func(o *load.Options) { o.Warmup = -1 },
		"duration":     func(o *load.Options) { o.Window = -1 },
		"drain":        func(o *load.Options) { o.Drain = -1 },
		"stall":        func(o *load.Options) { o.Stall = -1 },
		"windows":      func(o *load.Options) { o.Windows = -1 },
		"connect-rate": func(o *load.Options) { o.ConnectRate = -1 },
		"connecting":   func(o *load.Options) { o.Connecting = -1 },
	} {
		t.Run(field, func(t *testing.T) {
			o := quick(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
			change(&o)
			_, err := load.Run(t.Context(), o)
			require.ErrorContains(t, err, field)
			require.NotContains(t, err.Error(), "\n")
			require.NotContains(t, err.Error(), "refused", "found before a connection was tried")
		})
	}
}
