//go:build linux

package bench_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench"
)

// comparison has this test binary, in that mode, as the server of every engine.
func comparison(t *testing.T, mode string) bench.Options {
	t.Setenv(childMode, mode)
	self, err := os.Executable()
	require.NoError(t, err)
	return bench.Options{
		Engines: []string{"a", "net", "b"}, Conns: []int{2, 1}, Sizes: []int{64}, Pipelines: []int{4}, Depths: []int{1},
		Duration: 200 * time.Millisecond, Rounds: 2, Scenarios: []string{"echo"},
		Command: func(string, string) (string, []string) { return self, nil },
	}
}

func TestCompareRotates(t *testing.T) {
	o := comparison(t, "echoes")
	var order []string
	o.Report = func(s bench.Step) {
		require.Equal(t, 12, s.Of)
		require.Equal(t, len(order)+1, s.Number)
		order = append(order, s.Engine)
	}
	report, err := bench.Compare(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "net", "b", "a", "net", "b", "net", "b", "a", "net", "b", "a"}, order)
	require.Equal(t, "net", report.Base)
	require.Len(t, report.Scenarios, 2)
	for _, scenario := range report.Scenarios {
		for i, engine := range scenario.Engines {
			require.Equal(t, o.Engines[i], engine.Engine)
			require.Len(t, engine.Rounds, 2)
			require.Positive(t, engine.Summary["messages_per_s"].Ratio)
		}
	}
}

func TestCompareShowsWhyAServerDied(t *testing.T) {
	_, err := bench.Compare(t.Context(), comparison(t, "crashes"))
	require.ErrorContains(t, err, "engine a, echo, 2 connections, 64 B: connection ")
	require.ErrorContains(t, err, "it said: panic: out of ideas")
}

func TestCompareEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := comparison(t, "echoes")
	o.Duration = time.Minute
	o.Report = func(bench.Step) { time.AfterFunc(100*time.Millisecond, cancel) }
	_, err := bench.Compare(ctx, o)
	require.ErrorIs(t, err, context.Canceled)
}

// Every scenario runs, with what its connections do.
func TestCompareScenarios(t *testing.T) {
	for _, scenario := range bench.Scenarios() {
		t.Run(scenario, func(t *testing.T) {
			o := comparison(t, "serves")
			self, err := os.Executable()
			require.NoError(t, err)
			o.Command = func(_, proto string) (string, []string) { return self, []string{proto} }
			o.Engines, o.Conns, o.Rounds, o.Scenarios = []string{"net"}, []int{3}, 1, []string{scenario}
			o.Duration = 200 * time.Millisecond
			report, err := bench.Compare(t.Context(), o)
			require.NoError(t, err)
			require.Len(t, report.Scenarios, 1)
			m := report.Scenarios[0].Engines[0].Rounds[0]
			require.Positive(t, m.Messages)
			require.Positive(t, m.P50US)
		})
	}
}

// An engine is left out of what it has no protocol for.
func TestCompareEnginesThatLackAProtocol(t *testing.T) {
	o := comparison(t, "serves")
	self, err := os.Executable()
	require.NoError(t, err)
	o.Command = func(engine, proto string) (string, []string) {
		if engine == "other" && proto != "echo" {
			return "/nonexistent", nil
		}
		return self, []string{proto}
	}
	o.Speaks = func(engine, proto string) bool { return engine != "other" || proto == "echo" }
	o.Scenarios, o.Engines, o.Conns, o.Rounds, o.Duration = nil, []string{"net", "other", "third"}, []int{3}, 2, 100*time.Millisecond
	steps := 0
	o.Report = func(s bench.Step) { steps = s.Of }
	report, err := bench.Compare(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 2*3+2*2, steps)
	require.Len(t, report.Scenarios, 2)
	require.Len(t, report.Scenarios[0].Engines, 3)
	require.Len(t, report.Scenarios[1].Engines, 2)
	require.Equal(t, "third", report.Scenarios[1].Engines[1].Engine)
	for _, s := range report.Scenarios {
		for _, engine := range s.Engines {
			require.Len(t, engine.Rounds, 2)
			require.Contains(t, engine.Summary, "messages_per_s")
		}
	}
}
