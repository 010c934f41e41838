package ab_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/ab"
	"github.com/strand-net/strand/bench/result"
)

// synthetic makes runs whose figures vary as those of servers do: by a few percent, with a long tail to the slow side. Speed is how many times
// as fast the server is.
func synthetic(random *rand.Rand, speed float64) func(context.Context) (*result.Run, error) {
	return func(context.Context) (*result.Run, error) {
		slow := math.Exp(0.02*random.NormFloat64()) + 0.02*random.ExpFloat64()
		response := result.NewHistogram()
		for range 50 {
			response.Record(int64(1e6 * slow / speed * (1 + random.ExpFloat64())))
		}
		return &result.Run{
			Windows:    []result.Window{{Seconds: 1, Operations: int64(50_000 * speed / slow)}, {Seconds: 1, Operations: int64(50_000 * speed / slow), CPUUser: slow / speed}},
			Operations: map[string]*result.Operation{"echo": {Response: response}},
			Server:     &result.Server{MaxRSS: int64(1e7 * math.Exp(0.01*random.NormFloat64()))},
		}, nil
	}
}

func compare(t *testing.T, seed uint64, speed float64, runs int) *ab.Report {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	report, err := ab.Compare(t.Context(), ab.Options{
		A: ab.Side{Name: "old", Run: synthetic(random, 1)}, B: ab.Side{Name: "new", Run: synthetic(random, speed)}, Runs: runs, Seed: seed,
	})
	require.NoError(t, err)
	return report
}

func metric(t *testing.T, r *ab.Report, name string) ab.Metric {
	t.Helper()
	for _, m := range r.Metrics {
		if m.Name == name {
			return m
		}
	}
	require.Fail(t, "no metric "+name)
	return ab.Metric{}
}

// A difference of 5 % is found, and to the right side.
func TestDifferenceIsFound(t *testing.T) {
	const comparisons = 100
	found, within := 0, 0
	for seed := range uint64(comparisons) {
		speed, want := 1.05, ab.Better
		if seed%2 == 1 {
			speed, want = 1/1.05, ab.Worse
		}
		m := metric(t, compare(t, seed, speed, 16), "operations")
		if m.Verdict == want {
			found++
		} else {
			require.Equal(t, ab.Undecided, m.Verdict, "never the wrong side")
		}
		require.LessOrEqual(t, m.Lowest, m.Ratio)
		require.LessOrEqual(t, m.Ratio, m.Most)
		if m.Lowest <= speed && speed <= m.Most {
			within++
		}
	}
	require.GreaterOrEqual(t, found, 90)
	require.GreaterOrEqual(t, within, 88, "the interval has the true ratio in 95 of 100")
}

// Where there is no difference none is claimed, of any metric, but in 5 % of cases. The seeds are fixed: this cannot fail by chance.
func TestNoDifferenceIsNotClaimed(t *testing.T) {
	const comparisons = 400
	claimed := 0
	for seed := range uint64(comparisons) {
		for _, m := range compare(t, 1000+seed, 1, ab.LeastRuns).Metrics {
			if m.Verdict != ab.Undecided {
				claimed++
				break
			}
		}
	}
	require.LessOrEqual(t, claimed, comparisons*5/100)
	require.Positive(t, claimed, "a test that never errs has no power either")
}

func TestReport(t *testing.T) {
	r := compare(t, 1, 1.2, 0)
	require.Equal(t, ab.LeastRuns, r.Runs)
	require.Equal(t, 0.95, r.Confidence)
	require.Len(t, r.Metrics, 7)
	m := metric(t, r, "operations")
	require.True(t, m.Higher)
	require.Equal(t, ab.Better, m.Verdict)
	require.InDelta(t, 1.2, m.Ratio, 0.05)
	require.Len(t, m.A.Values, 10)
	require.LessOrEqual(t, m.A.Lowest, m.A.Center)
	require.LessOrEqual(t, m.A.Center, m.A.Highest)
	require.LessOrEqual(t, m.P, m.Adjusted)
	require.Equal(t, ab.Better, metric(t, r, "server CPU").Verdict)
	require.Less(t, metric(t, r, "server CPU").Ratio, 1.0)
	require.Equal(t, ab.Undecided, metric(t, r, "server memory").Verdict)
	var out strings.Builder
	require.NoError(t, r.WriteTable(&out))
	require.Regexp(t, `(?m)^operations +\d+/s ± \d+% +\d+/s ± \d+% +1\.\d{3} +\[1\.\d{3}, 1\.\d{3}\] +0\.\d{3} +better$`, out.String())
	require.Regexp(t, `(?m)^p99 +[\d.]+ms ± \d+% `, out.String())
}

// What only some runs know is left out, and values that are all equal do not differ.
func TestFewFigures(t *testing.T) {
	run := func(context.Context) (*result.Run, error) {
		return &result.Run{Windows: []result.Window{{Seconds: 2, Operations: 100}}}, nil
	}
	r, err := ab.Compare(t.Context(), ab.Options{A: ab.Side{Name: "a", Run: run}, B: ab.Side{Name: "b", Run: run}})
	require.NoError(t, err)
	require.Len(t, r.Metrics, 1)
	require.Equal(t, 50.0, r.Metrics[0].A.Center)
	require.Equal(t, 1.0, r.Metrics[0].Ratio)
	require.Equal(t, 1.0, r.Metrics[0].P)
	require.Equal(t, ab.Undecided, r.Metrics[0].Verdict)
}

// The sides alternate, in an order that is random and belongs to the seed.
func TestOrder(t *testing.T) {
	order := func(seed uint64) string {
		var all strings.Builder
		run := func(context.Context) (*result.Run, error) {
			return &result.Run{Windows: []result.Window{{Seconds: 1, Operations: 1}}}, nil
		}
		_, err := ab.Compare(t.Context(), ab.Options{
			A: ab.Side{Name: "a", Run: run}, B: ab.Side{Name: "b", Run: run}, Runs: 20, Seed: seed,
			Report: func(s ab.Step) {
				require.Equal(t, 40, s.Of)
				require.Equal(t, all.Len()+1, s.Number)
				all.WriteString(s.Side)
			},
		})
		require.NoError(t, err)
		return all.String()
	}
	first := order(1)
	require.Equal(t, first, order(1))
	require.NotEqual(t, first, order(2))
	for i := 0; i < len(first); i += 2 {
		require.NotEqual(t, first[i], first[i+1], "each pair has both sides: %s", first)
	}
	require.Contains(t, first, "abba")
	require.Contains(t, first, "abab")
}

// Runs are kept with tags that say what they are, beside their own. Whoever keeps them may end it.
func TestRunsAreKept(t *testing.T) {
	tags := map[string]string{"why": "test", result.TagSide: "mine"}
	run := func(context.Context) (*result.Run, error) {
		return &result.Run{Tags: tags, Windows: []result.Window{{Seconds: 1, Operations: 1}}}, nil
	}
	kept := make(map[string]bool)
	o := ab.Options{A: ab.Side{Name: "a", Run: run}, B: ab.Side{Name: "b", Run: run}, Runs: 10, Keep: func(s ab.Step, r *result.Run) error {
		require.Equal(t, s.Side == "a", s.First)
		require.Equal(t, "test", r.Tags["why"])
		require.Equal(t, s.Side, r.Tags[result.TagSide])
		require.Equal(t, strconv.Itoa(s.Round), r.Tags[result.TagRound])
		kept[s.Side+r.Tags[result.TagRound]] = true
		return nil
	}}
	_, err := ab.Compare(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, kept, 20)
	require.Equal(t, "mine", tags[result.TagSide])
	full := errors.New("full")
	o.Keep = func(ab.Step, *result.Run) error { return full }
	_, err = ab.Compare(t.Context(), o)
	require.ErrorIs(t, err, full)
}

func TestRunsThatFail(t *testing.T) {
	good := synthetic(rand.New(rand.NewPCG(1, 1)), 1)
	for want, bad := range map[string]func(context.Context) (*result.Run, error){
		"broken":                   func(context.Context) (*result.Run, error) { return nil, errors.New("broken") },
		"the run is invalid: late": func(context.Context) (*result.Run, error) { return &result.Run{Invalid: []string{"late"}}, nil },
	} {
		_, err := ab.Compare(t.Context(), ab.Options{A: ab.Side{Name: "good", Run: good}, B: ab.Side{Name: "bad", Run: bad}})
		require.Regexp(t, `^run [12] of 20, bad: `+want+`$`, err)
		require.Equal(t, want == "the run is invalid: late", errors.Is(err, ab.ErrInvalid))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	time.AfterFunc(time.Millisecond, func() { cancel(over) })
	_, err := ab.Compare(ctx, ab.Options{Runs: 1 << 30, A: ab.Side{Name: "a", Run: good}, B: ab.Side{Name: "b", Run: good}})
	require.ErrorIs(t, err, over)
}

func TestOptions(t *testing.T) {
	run := synthetic(rand.New(rand.NewPCG(1, 1)), 1)
	for want, change := range map[string]func(*ab.Options){
		"a side has nothing to run":                func(o *ab.Options) { o.B.Run = nil },
		`both sides are called "a"`:                func(o *ab.Options) { o.B.Name = "a" },
		"runs: 9 is less than 10":                  func(o *ab.Options) { o.Runs = 9 },
		"confidence: 0.5 is not between 0.5 and 1": func(o *ab.Options) { o.Confidence = 0.5 },
		"confidence: 95 is not between 0.5 and 1":  func(o *ab.Options) { o.Confidence = 95 },
	} {
		o := ab.Options{A: ab.Side{Name: "a", Run: run}, B: ab.Side{Name: "b", Run: run}}
		change(&o)
		_, err := ab.Compare(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
}
