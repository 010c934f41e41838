package watch_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/watch"
)

// patience is how long anything may take on a busy machine.
const patience = 20 * time.Second

func TestSampleOfThisProcess(t *testing.T) {
	self, err := watch.Find(os.Getpid())
	require.NoError(t, err)
	before, err := self.Sample(true)
	require.NoError(t, err)
	require.Positive(t, before.RSS)
	require.Positive(t, before.Threads)

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.Eventually(t, func() bool { // computing shows in the time of the processor
		for begin := time.Now(); time.Since(begin) < 30*time.Millisecond; {
			runtime.KeepAlive(bytes.Repeat([]byte{1}, 1000))
		}
		now, err := self.Sample(true)
		require.NoError(t, err)
		return now.CPUUser+now.CPUSystem > before.CPUUser+before.CPUSystem+0.02
	}, patience, time.Millisecond)
	if runtime.GOOS != "linux" {
		return
	}
	after, err := self.Sample(true)
	require.NoError(t, err)
	require.Equal(t, before.Descriptors+2, after.Descriptors)
	require.Positive(t, after.PSS)
	require.LessOrEqual(t, after.PSS, after.RSS*11/10) // they are not read at the same moment
	require.Greater(t, after.VoluntarySwitches+after.InvoluntarySwitches, before.VoluntarySwitches+before.InvoluntarySwitches)
	require.GreaterOrEqual(t, after.VoluntarySwitches, before.VoluntarySwitches)
	require.GreaterOrEqual(t, after.InvoluntarySwitches, before.InvoluntarySwitches)
}

func TestProcessThatHasEnded(t *testing.T) {
	c := startChild(t, "counts", (*exec.Cmd).Start)
	process, err := watch.Find(c.Process.Pid)
	require.NoError(t, err)
	_, err = process.Sample(false)
	require.NoError(t, err)
	require.NoError(t, c.Process.Kill())
	c.Wait()
	_, err = process.Sample(false)
	require.ErrorContains(t, err, "process ")
	_, err = watch.Find(c.Process.Pid)
	require.ErrorContains(t, err, "process ")
}

func TestWatcher(t *testing.T) {
	c := startChild(t, "tells", (*exec.Cmd).Start)
	w, err := watch.Start(t.Context(), watch.Options{Control: c.line, Interval: 20 * time.Millisecond, ProfileFor: 300 * time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, c.Process.Pid, w.PID())
	require.NoError(t, w.Look(t.Context(), watch.Before))
	require.NoError(t, w.Look(t.Context(), watch.Idle))
	require.Zero(t, w.Latest().At, "nothing has begun")
	w.Mark(watch.Begin)
	require.Eventually(t, func() bool {
		s := w.Latest()
		return s.At > 0.15 && s.Runtime != nil
	}, patience, 5*time.Millisecond)
	require.NoError(t, w.Look(t.Context(), watch.Boundary))
	bound := w.Latest().At
	require.Eventually(t, func() bool { return w.Latest().At > bound+0.15 }, patience, 5*time.Millisecond)
	w.Mark(watch.End)
	outcome, err := w.Stop()
	require.NoError(t, err)

	server := outcome.Server
	require.Equal(t, c.Process.Pid, server.PID)
	require.NotEmpty(t, server.Name)
	require.Negative(t, server.Before.At)
	require.Negative(t, server.Idle.At)
	require.Greater(t, server.Begin.At, 0.0)
	require.Greater(t, server.End.At, 0.3)
	require.Greater(t, server.End.CPUUser+server.End.CPUSystem, server.Begin.CPUUser+server.Begin.CPUSystem)
	for _, s := range []result.Sample{server.Before, server.Idle, server.Begin, server.End} {
		require.LessOrEqual(t, s.RSS, server.MaxRSS)
		require.NotNil(t, s.Runtime)
		require.Positive(t, s.Runtime.Heap)
		require.Positive(t, s.Runtime.Stack)
		require.Positive(t, s.Runtime.Goroutines)
	}
	require.Len(t, outcome.Bounds, 3)
	require.Greater(t, len(outcome.Samples), 8)
	unpacked, err := gzip.NewReader(bytes.NewReader(outcome.Profile))
	require.NoError(t, err)
	profile, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	require.True(t, bytes.Contains(profile, []byte("watch_test.compute")), "it is what the child does all the time")

	run := result.Run{
		Windows:   make([]result.Window, 2),
		Intervals: []result.Interval{{Begin: -0.5, Seconds: 0.1}, {Begin: 0, Seconds: 0.1}, {Begin: 0.1, Seconds: 0.1}, {Begin: 1000, Seconds: 1}},
	}
	outcome.Fill(&run)
	require.Equal(t, server, run.Server)
	require.InDelta(t, server.End.CPUUser-server.Begin.CPUUser, run.Windows[0].CPUUser+run.Windows[1].CPUUser, 1e-6)
	require.InDelta(t, server.End.CPUSystem-server.Begin.CPUSystem, run.Windows[0].CPUSystem+run.Windows[1].CPUSystem, 1e-6)
	require.NotNil(t, run.Intervals[1].Server)
	require.InDelta(t, 0.1, run.Intervals[1].Server.At, 0.11)
	require.InDelta(t, 0.2, run.Intervals[2].Server.At, 0.11)
	require.Nil(t, run.Intervals[3].Server)
}

// A profile ends with the last window, whatever was asked for, and with the watcher's context.
func TestProfileEnds(t *testing.T) {
	c := startChild(t, "tells", (*exec.Cmd).Start)
	for _, mark := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		w, err := watch.Start(ctx, watch.Options{Control: c.line, ProfileFor: 10 * time.Minute})
		require.NoError(t, err)
		require.NoError(t, w.Look(ctx, watch.Begin))
		if mark {
			w.Mark(watch.End)
		} else {
			cancel()
		}
		outcome, err := w.Stop()
		if mark {
			require.NoError(t, err)
			require.NotEmpty(t, outcome.Profile)
		} else {
			require.ErrorIs(t, err, context.Canceled)
			require.Empty(t, outcome.Profile)
		}
		cancel()
	}
}

func TestWatcherWhoseServerDies(t *testing.T) {
	c := startChild(t, "tells", (*exec.Cmd).Start)
	w, err := watch.Start(t.Context(), watch.Options{PID: c.Process.Pid, Interval: 10 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, w.Look(t.Context(), watch.Before))
	require.NoError(t, c.Process.Kill())
	c.Wait()
	require.Eventually(t, func() bool { return w.Look(t.Context(), watch.Idle) != nil }, patience, time.Millisecond)
	require.ErrorContains(t, w.Look(t.Context(), watch.End), "watch: process ")
	outcome, err := w.Stop()
	require.ErrorContains(t, err, "watch: process ")
	require.Positive(t, outcome.Server.Before.RSS)
}

func TestWatchOptions(t *testing.T) {
	c := startChild(t, "tells", (*exec.Cmd).Start)
	for want, o := range map[string]watch.Options{
		"watch: neither a process nor a control socket is named":                {},
		"watch: pid: -1 is negative":                                            {PID: -1},
		"watch: interval: -1ns is negative":                                     {PID: 1, Interval: -1},
		"watch: profile: only a server with a control socket can be asked":      {PID: 1, ProfileFor: 1},
		"watch: profile: 1h0m0s is not between 0 and 10m0s":                     {PID: 1, ProfileFor: time.Hour},
		"watch: control: address nonsense: missing port in address (wanted: ":   {Control: "nonsense"},
		"watch: control: state of the server at unix:/nonexistent: dial unix /": {Control: "unix:/nonexistent"},
		"watch: process 2147483647: ":                                           {PID: 1<<31 - 1},
		" answers at " + c.line + ", and not process 1":                         {PID: 1, Control: c.line},
	} {
		_, err := watch.Start(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
}

func TestCPUList(t *testing.T) {
	for text, want := range map[string]string{"0": "0", "3,1": "1,3", "0-3": "0-3", "5,0-1,2,7-7": "0-2,5,7"} {
		var cpus watch.CPUs
		require.NoError(t, cpus.UnmarshalText([]byte(text)))
		require.Equal(t, want, cpus.String())
	}
	for text, want := range map[string]string{
		"":      `processors "": "" is not a number from 0 to 1023`,
		"a":     `processors "a": "a" is not a number`,
		"0,":    `processors "0,": "" is not a number`,
		"3-1":   `processors "3-1": 3-1 ends before it begins`,
		"-1":    `processors "-1": "" is not a number`,
		"1-2-3": `"2-3" is not a number`,
		"1024":  `"1024" is not a number`,
	} {
		require.ErrorContains(t, new(watch.CPUs).UnmarshalText([]byte(text)), want)
	}
	require.Equal(t, watch.CPUs{2, 3}, watch.CPUs{0, 1, 2, 3}.Overlap(watch.CPUs{2, 3, 4}))
	require.Empty(t, watch.CPUs{0}.Overlap(watch.CPUs{1}))
}
