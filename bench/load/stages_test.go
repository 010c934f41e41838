//go:build linux

package load_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/server"
)

func stages(t *testing.T, texts ...string) (all []load.Stage) {
	t.Helper()
	for _, text := range texts {
		s, err := load.ParseStage(text)
		require.NoError(t, err)
		all = append(all, s)
	}
	return all
}

// Each stage is a window of its own length with its own target, and as many operations as are planned are in the result, whoever is late.
func TestStages(t *testing.T) {
	for name, change := range map[string]func(*load.Options){
		"constant":    func(*load.Options) {},
		"two threads": func(o *load.Options) { o.Threads = 2 },
		"poisson":     func(o *load.Options) { o.Pace = load.PacePoisson },
	} {
		t.Run(name, func(t *testing.T) {
			o := quick(startServer(t, server.ProtoEcho))
			o.Window, o.Stages = 0, stages(t, "500:1300ms", "2000:500ms", "2000-1000:1s")
			change(&o)
			var windows []int
			o.OnPhase = func(p load.Phase) error {
				if p.Name == load.PhaseWindow {
					windows = append(windows, p.Window)
				}
				return nil
			}
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err)
			requireFaultless(t, run)
			require.Empty(t, run.Invalid)
			require.Equal(t, []int{0, 1, 2}, windows)
			require.Len(t, run.Windows, 3)
			count := run.Operations["echo"].Count
			switch {
			case o.Pace == load.PacePoisson:
				require.InDelta(t, 3150, count, 300) // 5 sigma
			case o.Threads > 1:
				require.InDelta(t, 3150, count, 2)
			default:
				require.EqualValues(t, 650+1000+1500, count)
			}
			require.InDelta(t, 3150/2.8, run.Target, 1e-6)
			require.True(t, run.Staged())
			var ended int64
			begin := 0.0
			for i, want := range []struct{ target, seconds float64 }{{500, 1.3}, {2000, 0.5}, {1500, 1}} {
				w := run.Windows[i]
				require.InDelta(t, want.target, w.Target, 1e-6)
				require.InDelta(t, begin, w.Begin, 1e-9)
				require.Positive(t, w.Operations)
				require.Positive(t, w.P50)
				require.LessOrEqual(t, w.P50, w.P99)
				require.LessOrEqual(t, w.P99, w.Max)
				begin += want.seconds
				ended += w.Operations
			}
			require.LessOrEqual(t, ended, count+100, "and those of the warm-up that ended later")
			// The windows are cut into seconds, each with what was planned in it.
			var targets []float64
			for _, i := range run.Intervals {
				if i.Begin >= 0 {
					targets = append(targets, i.Target)
				}
			}
			require.InDeltaSlice(t, []float64{500, 500, 2000, 1500}, targets, 1e-6)
			var config struct{ Stages []string }
			require.NoError(t, json.Unmarshal(run.Config, &config))
			require.Equal(t, []string{"500:1.3s", "2000:500ms", "2000-1000:1s"}, config.Stages)
		})
	}
}

// Shards have their shares of each stage, and what is merged has the whole.
func TestStagesOfShards(t *testing.T) {
	addr := startServer(t, server.ProtoEcho)
	var shards []*result.Run
	for i := range 2 {
		o := quick(addr)
		o.Window, o.Stages, o.ID, o.Shard = 0, stages(t, "500:200ms", "1000:300ms"), "run", result.Shard{Index: i + 1, Of: 2}
		run, err := load.Run(t.Context(), o)
		require.NoError(t, err)
		share := []float64{3.0 / 5, 2.0 / 5}[i]
		require.InDelta(t, 500*share, run.Windows[0].Target, 1e-6)
		require.InDelta(t, 1000*share, run.Windows[1].Target, 1e-6)
		shards = append(shards, run)
	}
	shards[1].Begin = shards[0].Begin // here they ran one after the other
	merged, err := result.Merge(shards)
	require.NoError(t, err)
	require.InDelta(t, 500, merged.Windows[0].Target, 1e-6)
	require.InDelta(t, 1000, merged.Windows[1].Target, 1e-6)
	require.InDelta(t, 800, merged.Target, 1e-6)
	require.InDelta(t, 100+300, merged.Operations["echo"].Count, 4)
	for i, w := range merged.Windows {
		require.Equal(t, max(shards[0].Windows[i].Max, shards[1].Windows[i].Max), w.Max)
		require.GreaterOrEqual(t, w.P50, min(shards[0].Windows[i].P50, shards[1].Windows[i].P50))
		require.LessOrEqual(t, w.P50, max(shards[0].Windows[i].P50, shards[1].Windows[i].P50))
	}
}
