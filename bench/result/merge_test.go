package result

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
)

// shardsOf are n shards of a run, in no order.
func shardsOf(t *testing.T, n int) []*Run {
	var all []*Run
	for i := range n {
		all = append(all, testRun(t, i+1, n))
	}
	seeded(uint64(n)).Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func TestMergeSumsUp(t *testing.T) {
	shards := shardsOf(t, 3)
	var most int64
	for i, s := range shards {
		h := NewHistogram()
		h.Record(int64(i+1) * 1e6)
		most = h.Max()
		s.Windows[1].Target = 100
		s.Windows[1].SetLatency(h)
		s.Windows[1].Latency, _ = h.Compress()
		s.Windows[0].SetLatency(h) // whose histogram is not there
	}
	shards[0].Receipt, shards[2].Receipt = &Receipt{1, 100, 2}, &Receipt{2, 30, 3}
	before, err := json.Marshal(shards)
	require.NoError(t, err)
	merged, err := Merge(shards)
	require.NoError(t, err)
	after, err := json.Marshal(shards)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after), "the shards are as they were")

	first := testRun(t, 1, 3)
	require.Equal(t, Shard{}, merged.Shard)
	require.Equal(t, first.ID, merged.ID)
	require.Equal(t, first.Name, merged.Name)
	require.Equal(t, first.Begin, merged.Begin, "the earliest")
	require.Equal(t, first.Config, merged.Config)
	require.Equal(t, first.ConfigHash, merged.ConfigHash)
	require.Equal(t, first.Tags, merged.Tags)
	require.Equal(t, first.Machine, merged.Machine)
	require.Empty(t, merged.Machines)
	require.Empty(t, merged.Invalid)
	require.InDelta(t, 3000, merged.Target, 0)

	require.Equal(t, []int{300, 297, 3}, []int{merged.Connect.Wanted, merged.Connect.Made, merged.Connect.Failed})
	require.InDelta(t, 0.25, merged.Connect.Seconds, 0)
	require.EqualValues(t, 297, merged.Connect.Latency.TotalCount())
	require.Equal(t, []Window{
		{Begin: 0, Seconds: 1, Operations: 3000, Messages: 6000, BytesOut: 9000, BytesIn: 12000, Errors: 3, CPUUser: 0.01, CPUSystem: 0.02, Max: most},
		{Begin: 1, Seconds: 1, Operations: 2700, Messages: 5400, BytesOut: 8100, BytesIn: 10800, Errors: 6, CPUUser: 0.03, CPUSystem: 0.04,
			Target: 300, P50: merged.Windows[1].P50, P90: most, P99: most, P999: most, Max: most},
	}, merged.Windows, "the server is one, and its CPU counts once")
	require.Equal(t, Check{Checked: 5700, Lost: 3, Reordered: 6, Duplicated: 9, Corrupt: 12}, merged.Check)
	require.InEpsilon(t, 2e6, merged.Windows[1].P50, 0.001, "the middle one of three")
	require.Equal(t, &Receipt{3, 130, 3}, merged.Receipt)
	require.Equal(t, map[string]int64{"connection reset": 9}, merged.Errors)
	require.Equal(t, Generator{CPUUser: 3, CPUSystem: 6, Threads: 6, Busiest: 0.5, MaxRSS: 30 << 20}, merged.Generator)
	require.EqualValues(t, 5700, merged.Operations["echo"].Count)
	require.EqualValues(t, 6, merged.Operations["echo"].Censored)
	require.Equal(t, []Objective{{Expression: "lost==0", Value: 3}}, merged.SLO)

	require.Len(t, merged.Intervals, 2)
	require.Zero(t, merged.Intervals[0].P50, "without histograms the percentiles of all shards together cannot be known")
	second := merged.Intervals[1]
	latency := NewHistogram()
	for _, s := range shards {
		part, err := Decompress(s.Intervals[1].Latency)
		require.NoError(t, err)
		require.NoError(t, latency.Add(part))
	}
	want := Interval{Begin: 0, Seconds: 1, Target: 3000, Rate: 3000, Errors: 3, Conns: 297, InFlight: 9, Server: first.Intervals[1].Server}
	want.SetLatency(latency)
	require.Equal(t, want, second)

	path := filepath.Join(t.TempDir(), "merged.json")
	require.NoError(t, merged.WriteFile(path))
	back, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, merged, back)
}

func TestMergeCountsAServerOnce(t *testing.T) {
	shards := shardsOf(t, 2)
	one, err := Merge(shards)
	require.NoError(t, err)
	want := *testRun(t, 1, 2).Server
	want.Idle.At += 0.001 // the latest look: that of shard 2, which began a millisecond later
	want.End.At += 0.001
	requireServer(t, &want, one.Server)

	for i, s := range shards {
		s.Server.PID = i + 1
		s.Begin = shards[0].Begin
	}
	two, err := Merge(shards)
	require.NoError(t, err)
	require.Equal(t, "net", two.Server.Name)
	require.Zero(t, two.Server.PID)
	require.EqualValues(t, 10<<20, two.Server.MaxRSS)
	require.EqualValues(t, 8<<20, two.Server.End.RSS)
	require.InDelta(t, 4, two.Server.End.CPUUser, 1e-9)
	require.Equal(t, 14, two.Server.End.Runtime.Goroutines)
	require.InDelta(t, 0.02, two.Windows[0].CPUUser, 1e-9)
	require.EqualValues(t, 6<<20, two.Intervals[1].Server.RSS)

	for i, s := range shards {
		s.Server.PID, s.Server.Host = 1, fmt.Sprint("host", i)
		s.Server.End.TCPMemory = 100
	}
	two, err = Merge(shards)
	require.NoError(t, err)
	require.EqualValues(t, 10<<20, two.Server.MaxRSS, "process 1 of two machines")
	require.EqualValues(t, 200, two.Server.End.TCPMemory)
	shards[1].Server.Host, shards[1].Server.PID = shards[0].Server.Host, 2
	two, err = Merge(shards)
	require.NoError(t, err)
	require.EqualValues(t, 100, two.Server.End.TCPMemory, "two servers of a machine share its memory")

	shards[0].Server = nil
	one, err = Merge(shards)
	require.NoError(t, err)
	require.Equal(t, shards[1].Server, one.Server)
}

func requireServer(t *testing.T, want, got *Server) {
	t.Helper()
	for _, pair := range [][2]*Sample{{&want.Before, &got.Before}, {&want.Idle, &got.Idle}, {&want.Begin, &got.Begin}, {&want.End, &got.End}} {
		require.InDelta(t, pair[0].At, pair[1].At, 1e-9)
		pair[1].At = pair[0].At
	}
	require.Equal(t, want, got)
}

// TestMergedPercentilesAreThoseOfOneRun splits the same operations in random ways.
func TestMergedPercentilesAreThoseOfOneRun(t *testing.T) {
	for seed := range uint64(10) {
		random := seeded(seed)
		whole := testRun(t, 1, 1)
		of := 1 + random.IntN(5)
		shards := make([]*Run, of)
		for i := range shards {
			shards[i] = testRun(t, i+1, of)
		}
		for _, r := range append(shards, whole) {
			r.Intervals, r.Connect.Latency = nil, NewHistogram()
			r.Operations = map[string]*Operation{}
			for _, name := range []string{"get", "set"} {
				r.Operations[name] = &Operation{Response: NewHistogram(), Service: NewHistogram(), Lag: NewHistogram()}
			}
		}
		perSecond := make([]*Histogram, 3)
		parts := make([][]*Histogram, of)
		for second := range perSecond {
			perSecond[second] = NewHistogram()
			for i := range parts {
				parts[i] = append(parts[i], NewHistogram())
			}
		}
		for range random.IntN(5000) {
			name := []string{"get", "set"}[random.IntN(2)]
			// The last shards have more of the slow ones: the mean of their percentiles would be wrong.
			shard := random.IntN(of)
			latency := random.Int64N(int64(time.Second) << random.IntN(shard+1))
			second := random.IntN(len(perSecond))
			for _, r := range []*Run{whole, shards[shard]} {
				o := r.Operations[name]
				o.Count++
				o.Response.Record(latency)
				o.Service.Record(latency / 2)
				o.Lag.Record(latency / 3)
				r.Connect.Latency.Record(latency)
			}
			perSecond[second].Record(latency)
			parts[shard][second].Record(latency)
		}
		for i, s := range shards {
			for second, h := range parts[i] {
				text, err := h.Compress()
				require.NoError(t, err)
				interval := Interval{Begin: float64(second) - 0.05 + 0.1*random.Float64(), Seconds: 1, Latency: text}
				interval.SetLatency(h)
				s.Intervals = append(s.Intervals, interval)
			}
		}
		random.Shuffle(of, func(i, j int) { shards[i], shards[j] = shards[j], shards[i] })
		merged, err := Merge(shards)
		require.NoError(t, err)
		requireSame(t, whole.Connect.Latency, merged.Connect.Latency)
		for name, want := range whole.Operations {
			got := merged.Operations[name]
			require.Equal(t, want.Count, got.Count)
			requireSame(t, want.Response, got.Response)
			requireSame(t, want.Service, got.Service)
			requireSame(t, want.Lag, got.Lag)
			require.Equal(t, want.Response.Summary(), got.Response.Summary())
		}
		require.Len(t, merged.Intervals, len(perSecond))
		for second, h := range perSecond {
			var want, got Interval
			want.SetLatency(h)
			i := merged.Intervals[second]
			got.P50, got.P90, got.P99, got.P999, got.Max = i.P50, i.P90, i.P99, i.P999, i.Max
			require.Equal(t, want, got, "seed %d, second %d", seed, second)
		}
	}
}

func TestMergeRefusesWhatDoesNotBelongTogether(t *testing.T) {
	// change gets shards 1, 2 and 3.
	for want, change := range map[string]func(s []*Run) []*Run{
		"there is no run to merge":                  func([]*Run) []*Run { return nil },
		"of 3 shards these are missing: 2":          func(s []*Run) []*Run { return []*Run{s[0], s[2]} },
		"of 3 shards these are missing: 1 to 2":     func(s []*Run) []*Run { return s[2:] },
		"of 3 shards these are missing: 3":          func(s []*Run) []*Run { return s[:2] },
		"shard 2 of 3 is there twice":               func(s []*Run) []*Run { return append(s, s[1]) },
		"shard 4 of 3 does not exist":               func(s []*Run) []*Run { s[2].Shard.Index = 4; return s },
		"shard 1 is one of 3, and shard 3 one of 4": func(s []*Run) []*Run { s[2].Shard.Of = 4; return s },
		"one is no shard: it has been merged already": func(s []*Run) []*Run {
			s[1].Shard = Shard{}
			return s
		},
		"shard 2 has schema version 1, and only 2 can be merged":          func(s []*Run) []*Run { s[1].SchemaVersion = 1; return s },
		`shard 2 does not go with shard 1: run ID "run-2" is not "run-1"`: func(s []*Run) []*Run { s[1].ID = "run-2"; return s },
		`shard 3 does not go with shard 1: config hash "x" is not "`:      func(s []*Run) []*Run { s[2].ConfigHash = "x"; return s },
		`shard 2 does not go with shard 1: version "v1.0.1 abc" is not "v1.0.0 abc"`: func(s []*Run) []*Run {
			s[1].Machine.Version = "v1.0.1"
			return s
		},
		`version "v1.0.0 abc modified" is not "v1.0.0 abc"`: func(s []*Run) []*Run { s[1].Machine.Modified = true; return s },
		"shard 3 began 1.001s after shard 2, and 1s is the most": func(s []*Run) []*Run {
			s[1].Begin = s[0].Begin.Add(-time.Millisecond)
			s[2].Begin = s[0].Begin.Add(time.Second)
			return s
		},
		"shard 2 does not go with shard 1: it has 1 windows, not 2": func(s []*Run) []*Run { s[1].Windows = s[1].Windows[:1]; return s },
		`shard 2: operation "echo": service: histogram of 1 ns to 1000000 ns with 2 digits does not go with`: func(s []*Run) []*Run {
			other := &Histogram{Histogram: hdrhistogram.New(1, 1_000_000, 2)}
			other.Record(Lowest)
			s[1].Operations["echo"].Service = other
			return s
		},
		"shard 3: interval at 0 s: histogram: ": func(s []*Run) []*Run { s[2].Intervals[1].Latency = "x"; return s },
		`objective "p99": at 4: `:               func(s []*Run) []*Run { s[0].SLO[0].Expression = "p99"; return s },
	} {
		t.Run(want, func(t *testing.T) {
			merged, err := Merge(change([]*Run{testRun(t, 1, 3), testRun(t, 2, 3), testRun(t, 3, 3)}))
			require.ErrorContains(t, err, want)
			require.Nil(t, merged)
		})
	}
}

func TestMergeOfWhatDiffers(t *testing.T) {
	shards := []*Run{testRun(t, 1, 3), testRun(t, 2, 3), testRun(t, 3, 3)}
	shards[1].Invalid = []string{"the generator was at its limit"}
	shards[1].Tags["host"] = "b"
	shards[2].Tags["host"] = "c"
	shards[2].Machine.CPU = "Another CPU"
	shards[1].Machine.Steal = 0.25
	shards[2].Operations["ping"] = &Operation{Count: 7}
	shards[0].SLO = []Objective{{Expression: "lost==0", OK: true}, {Expression: "reordered<=6"}}
	merged, err := Merge(shards)
	require.NoError(t, err)
	require.Equal(t, []string{"shard 2: the generator was at its limit"}, merged.Invalid)
	require.Equal(t, map[string]string{"engine": "net", "host": "b,c"}, merged.Tags)
	require.Len(t, merged.Machines, 2)
	require.Equal(t, merged.Machine, merged.Machines[0])
	require.InDelta(t, 0.25, merged.Machine.Steal, 0, "the worst that a shard saw of the same machine")
	require.Equal(t, "Another CPU", merged.Machines[1].CPU)
	require.EqualValues(t, 7, merged.Operations["ping"].Count)
	requireSame(t, NewHistogram(), merged.Operations["ping"].Lag)
	require.Equal(t, []Objective{{Expression: "lost==0", Value: 3}, {Expression: "reordered<=6", Value: 6, OK: true}}, merged.SLO)
	require.Equal(t, ExitInvalid, merged.ExitCode())
}

// Shards that were interrupted need not have come to the same window.
func TestMergeOfWhatWasInterrupted(t *testing.T) {
	shards := []*Run{testRun(t, 1, 2), testRun(t, 2, 2)}
	shards[1].Windows = shards[1].Windows[:1]
	_, err := Merge(shards)
	require.ErrorContains(t, err, "it has 1 windows, not 2")
	shards[1].Interrupted = true
	shards[1].Server, shards[1].Unwatched = nil, "why"
	merged, err := Merge(shards)
	require.NoError(t, err)
	require.True(t, merged.Interrupted)
	require.Equal(t, "why", merged.Unwatched)
	require.Equal(t, ExitError, merged.ExitCode())
	require.Len(t, merged.Windows, 2)
	require.EqualValues(t, 2000, merged.Windows[0].Operations)
	require.Equal(t, shards[0].Windows[1].Operations, merged.Windows[1].Operations)
	require.Equal(t, shards[0].Windows[1].CPUUser, merged.Windows[1].CPUUser)
}
