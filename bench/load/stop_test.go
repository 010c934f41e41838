package load_test

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/server"
)

// stopAfter has a run stopped when it tells of so many seconds of its windows, at the time that when returns.
func stopAfter(o *load.Options, seconds int, when func(load.Second) time.Time) {
	stop := make(chan time.Time, 1)
	o.Stop = stop
	o.OnInterval = func(s load.Second) {
		if s.Window < 0 {
			return
		}
		if seconds--; seconds == 0 {
			stop <- when(s)
		}
	}
}

func now(load.Second) time.Time { return time.Now() }

// What was measured before a run is stopped is its result, and sound: what was in flight is waited for.
func TestStop(t *testing.T) {
	for _, c := range []struct {
		name, proto string
		change      func(*load.Options)
	}{
		{"closed", server.ProtoEcho, func(*load.Options) {}},
		{"threads", server.ProtoEcho, func(o *load.Options) { o.Threads, o.Depth = 3, 5 }},
		{"constant", server.ProtoEcho, func(o *load.Options) { o.Rate, o.Threads = 1000, 2 }},
		{"batches of lines", server.ProtoLine, func(o *load.Options) { o.Framing, o.Batch = load.FramingLine, 16 }},
		{"slow readers", server.ProtoEcho, func(o *load.Options) { o.Active, o.Slow = 3, 2 }},
		{"churn", server.ProtoEcho, func(o *load.Options) { o.Workload, o.Rate = load.WorkloadChurn, 200 }},
		{"sink", server.ProtoSink, func(o *load.Options) { o.Workload = load.WorkloadSink }},
		{"push", server.ProtoPush, func(o *load.Options) { o.Workload, o.Rate = load.WorkloadPush, 1000 }},
		{"broadcast", server.ProtoBroadcast, func(o *load.Options) {
			o.Workload, o.Rate, o.Settle = load.WorkloadBroadcast, 100, time.Second // for the server to know all of them
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := quick(startServer(t, c.proto))
			o.Window, o.Windows = time.Hour, 2
			c.change(&o)
			stopAfter(&o, 1, now)
			var phases []string
			o.OnPhase = func(p load.Phase) error { phases = append(phases, p.Name); return nil }
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err)
			require.True(t, run.Interrupted)
			require.Equal(t, result.ExitError, run.ExitCode())
			require.Empty(t, run.Invalid)
			require.Empty(t, run.Faults)
			require.Equal(t, result.Check{Checked: run.Check.Checked}, run.Check)
			require.Equal(t, []string{load.PhaseConnect, load.PhaseSettle, load.PhaseIdle, load.PhaseWarmup,
				load.PhaseWindow, load.PhaseDrain, load.PhaseEnd}, phases)
			require.Len(t, run.Windows, 1, "the second has not begun")
			require.Positive(t, run.Windows[0].Seconds) // by when workers have got round to it
			var seconds float64
			for _, i := range run.Intervals {
				if i.Begin >= 0 {
					seconds += i.Seconds
				}
			}
			require.InDelta(t, seconds, run.Windows[0].Seconds, 1e-6)
			op := run.Operations[cmp.Or(o.Workload, load.WorkloadEcho)]
			require.Zero(t, op.Censored)
			require.Positive(t, run.Windows[0].Operations)
			require.GreaterOrEqual(t, op.Response.TotalCount(), int64(1))
			if o.Rate > 0 && o.Workload != load.WorkloadPush {
				require.Equal(t, op.Count, op.Lag.TotalCount(), "all that was begun has ended")
				require.GreaterOrEqual(t, op.Count, int64(o.Rate), "there was a second at least")
			}
		})
	}
}

// The time at which traffic is to end is kept, so that several shards can end at the same time.
func TestStopAtItsTime(t *testing.T) {
	o := quick(startServer(t, server.ProtoEcho))
	o.Window, o.Windows, o.Threads = time.Second, 3, 2
	stopAfter(&o, 1, func(s load.Second) time.Time { return s.Begin.Add(1600 * time.Millisecond) })
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.True(t, run.Interrupted)
	require.Len(t, run.Windows, 2)
	require.Equal(t, 1.0, run.Windows[1].Begin)
	require.Positive(t, run.Windows[1].Seconds)
	require.LessOrEqual(t, run.Generator.Busiest, 1.0)
}

// A time behind the end changes nothing.
func TestStopTooLate(t *testing.T) {
	for _, late := range []time.Duration{1200 * time.Millisecond, 1 << 62} {
		o := quick(startServer(t, server.ProtoEcho))
		o.Window = 1200 * time.Millisecond
		stopAfter(&o, 1, func(s load.Second) time.Time { return s.Begin.Add(late) })
		run, err := load.Run(t.Context(), o)
		require.NoError(t, err)
		require.False(t, run.Interrupted)
		require.GreaterOrEqual(t, run.Windows[0].Seconds, 1.19)
	}
}

// Before the first second has been measured there is nothing to return.
func TestStopTooEarly(t *testing.T) {
	addr := startServer(t, server.ProtoEcho)
	for name, change := range map[string]func(o *load.Options, stop func(time.Time)){
		"before it begins": func(_ *load.Options, stop func(time.Time)) { stop(time.Now()) },
		"while it settles": func(o *load.Options, stop func(time.Time)) {
			o.Settle = time.Hour
			o.OnPhase = func(p load.Phase) error {
				if p.Name == load.PhaseSettle {
					stop(time.Now())
				}
				return nil
			}
		},
		"while it waits for others": func(o *load.Options, stop func(time.Time)) {
			o.Begin = func(ctx context.Context) (time.Time, error) {
				stop(time.Now())
				<-ctx.Done()
				return time.Time{}, context.Cause(ctx)
			}
		},
		"in the warm-up": func(o *load.Options, stop func(time.Time)) {
			o.Warmup = time.Hour
			o.OnPhase = func(p load.Phase) error {
				if p.Name == load.PhaseWarmup {
					stop(time.Now())
				}
				return nil
			}
		},
		"in the first second": func(o *load.Options, stop func(time.Time)) {
			o.OnPhase = func(p load.Phase) error {
				if p.Name == load.PhaseWarmup {
					stop(p.Begin.Add(500 * time.Millisecond))
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := quick(addr)
			o.Window = time.Hour
			stop := make(chan time.Time, 1)
			o.Stop = stop
			change(&o, func(at time.Time) { stop <- at })
			_, err := load.Run(t.Context(), o)
			require.ErrorIs(t, err, load.ErrStopped)
		})
	}
}

// What is left of a ramp has the rate that was planned for it, and is judged by that.
func TestStopWithinAStage(t *testing.T) {
	o := quick(startServer(t, server.ProtoEcho))
	o.Window, o.Windows, o.Threads = 0, 0, 2
	o.Stages = []load.Stage{{From: 100, To: 100, Duration: time.Second}, {From: 100, To: 1100, Duration: 10 * time.Second}, {From: 1, To: 1, Duration: time.Hour}}
	stopAfter(&o, 1, func(s load.Second) time.Time { return s.Begin.Add(4 * time.Second) })
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.True(t, run.Interrupted)
	require.Empty(t, run.Invalid)
	require.Len(t, run.Windows, 2)
	require.InEpsilon(t, 250, run.Windows[1].Target, 0.02, "of the ramp's first three seconds")
	require.InEpsilon(t, (100+3*250)/4.0, run.Target, 0.02)
	require.InEpsilon(t, 100+3*250, run.Operations["echo"].Count, 0.02)
}
