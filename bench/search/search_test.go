package search_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/search"
)

// server is a simulated one: its p99 grows as that of a queue, and varies from run to run.
type server struct {
	capacity  float64 // operations a second
	noise     float64 // standard deviation of the capacity's logarithm from run to run
	glitches  float64 // share of the runs that something else disturbs
	generator float64 // rate from which on the generator cannot keep up; 0 for never
	random    *rand.Rand
	runs      int
}

// limit is the p99 that is demanded, in ns.
const limit = 5e6

// p99 is that of an M/M/1 queue, at that rate and capacity.
func p99(rate, capacity float64) float64 {
	if rate >= capacity {
		return 1e9 // it grows for as long as the run lasts
	}
	return 1e9 * math.Log(100) / (capacity - rate)
}

// most is the highest rate at which the server without noise fulfils the demand.
func (s *server) most() float64 { return s.capacity - 1e9*math.Log(100)/limit }

func (s *server) run(_ context.Context, rate float64) (*result.Run, error) {
	s.runs++
	value := p99(rate, s.capacity*math.Exp(s.noise*s.random.NormFloat64()))
	if s.random.Float64() < s.glitches {
		value += 1e8
	}
	r := &result.Run{Target: rate, SLO: []result.Objective{{Expression: "p99<5ms", Value: value, OK: value < limit}, {Expression: "errors==0", OK: true}}}
	if s.generator > 0 && rate >= s.generator {
		r.Invalid = []string{"it began late"}
	}
	return r, nil
}

func newServer(seed uint64, capacity float64) *server {
	return &server{capacity: capacity, random: rand.New(rand.NewPCG(seed, 3))}
}

func TestFindsTheCapacity(t *testing.T) {
	for _, capacity := range []float64{1_500, 17_000, 123_456, 5_000_000} {
		for _, first := range []float64{1, 1000, 50_000, 10_000_000} {
			s := newServer(1, capacity)
			answer, err := search.Highest(t.Context(), search.Options{Run: s.run, First: first, Precision: 0.01})
			require.NoError(t, err)
			require.LessOrEqual(t, answer.Rate, s.most())
			require.GreaterOrEqual(t, answer.Rate, 0.985*s.most())
			require.Greater(t, answer.Fails, s.most())
			require.LessOrEqual(t, answer.Fails-answer.Rate, 0.011*answer.Fails)
			require.Empty(t, answer.Limit)
			require.Len(t, answer.Tries, s.runs)
			require.Less(t, s.runs, 60)
			passed := 0
			for _, try := range answer.Tries {
				if try.Rate == answer.Rate {
					require.True(t, try.OK)
					passed++
				}
			}
			require.Equal(t, 3, passed)
		}
	}
}

// Noise moves the answer by about as much as it moves the server, and a run that something disturbs now and then does not spoil it.
func TestFindsTheCapacityInNoise(t *testing.T) {
	const searches = 200
	near := 0
	for seed := range uint64(searches) {
		s := newServer(seed, 100_000)
		s.noise, s.glitches = 0.02, 0.03
		answer, err := search.Highest(t.Context(), search.Options{Run: s.run})
		require.NoError(t, err)
		require.Less(t, answer.Rate, 1.05*s.most(), "it has been confirmed")
		if answer.Rate > 0.9*s.most() {
			near++
		}
	}
	require.GreaterOrEqual(t, near, searches*95/100)
}

// A limit of the generator is never taken for one of the server.
func TestGeneratorAtItsLimit(t *testing.T) {
	s := newServer(1, 1e6)
	s.generator = 70_000
	answer, err := search.Highest(t.Context(), search.Options{Run: s.run})
	require.ErrorIs(t, err, search.ErrGenerator)
	require.ErrorContains(t, err, "the generator is at its limit, not the server: it began late")
	require.Contains(t, answer.Limit, "the generator's own at 7")
	require.Less(t, answer.Rate, s.generator)
	require.Greater(t, answer.Rate, 0.97*s.generator, "a lower bound, and a useful one")

	// One that is far above the server's limit is no matter.
	s = newServer(1, 60_000)
	s.generator = 62_000
	answer, err = search.Highest(t.Context(), search.Options{Run: s.run})
	require.NoError(t, err)
	require.Empty(t, answer.Limit)
	require.InEpsilon(t, s.most(), answer.Rate, 0.03)

	// One that cannot do anything.
	s.generator = 0.5
	answer, err = search.Highest(t.Context(), search.Options{Run: s.run})
	require.ErrorIs(t, err, search.ErrGenerator)
	require.Zero(t, answer.Rate)
	require.Len(t, answer.Tries, 2, "it gives up at once")

	// One that fails only when the answer is to be confirmed.
	s = newServer(1, 60_000)
	answer, err = search.Highest(t.Context(), search.Options{Run: func(ctx context.Context, rate float64) (*result.Run, error) {
		if s.runs >= 14 {
			s.generator = 1
		}
		return s.run(ctx, rate)
	}})
	require.ErrorIs(t, err, search.ErrGenerator)
	require.Less(t, answer.Rate, answer.Fails)
	require.Greater(t, answer.Rate, 0.9*s.most())
	require.Less(t, s.runs, 25)
}

func TestEndsOfTheSearch(t *testing.T) {
	s := newServer(1, 1e6)
	answer, err := search.Highest(t.Context(), search.Options{Run: s.run, Highest: 5000})
	require.NoError(t, err)
	require.Equal(t, 5000.0, answer.Rate)
	require.Zero(t, answer.Fails)
	require.Equal(t, "the highest rate that was to be tried, 5000/s", answer.Limit)

	// No rate is low enough.
	s = newServer(1, 0.5)
	answer, err = search.Highest(t.Context(), search.Options{Run: s.run})
	require.NoError(t, err)
	require.Zero(t, answer.Rate)
	require.Equal(t, 1.0, answer.Fails)
	require.Equal(t, search.Shrinking, answer.Tries[len(answer.Tries)-1].Phase)

	// Chance alone decides.
	s = newServer(1, 1e6)
	s.glitches = 0.5
	answer, err = search.Highest(t.Context(), search.Options{Run: s.run, Confirm: 30, Highest: 5000})
	require.ErrorIs(t, err, search.ErrUnsteady)
	require.Len(t, answer.Tries, 200)
}

func TestRunsThatFail(t *testing.T) {
	s := newServer(1, 1e6)
	broken := errors.New("broken")
	ctx, cancel := context.WithCancelCause(t.Context())
	for want, o := range map[string]search.Options{
		"at 4000/s: broken": {Run: func(ctx context.Context, rate float64) (*result.Run, error) {
			if rate == 4000 {
				return nil, broken
			}
			return s.run(ctx, rate)
		}},
		"at 1000/s: nothing is demanded of the server": {Run: func(context.Context, float64) (*result.Run, error) { return &result.Run{}, nil }},
		"at 8000/s: over": {Run: func(ctx context.Context, rate float64) (*result.Run, error) {
			if rate == 8000 {
				cancel(errors.New("over"))
			}
			return s.run(ctx, rate)
		}},
	} {
		answer, err := search.Highest(ctx, o)
		require.ErrorContains(t, err, want)
		require.NotNil(t, answer)
		if want == "at 4000/s: broken" {
			require.ErrorIs(t, err, broken)
			require.Equal(t, 2000.0, answer.Rate, "as far as is known")
		}
		if ctx.Err() != nil {
			ctx, cancel = context.WithCancelCause(t.Context())
		}
	}
	cancel(nil)
}

func TestOptions(t *testing.T) {
	s := newServer(1, 1e6)
	for want, o := range map[string]search.Options{
		"nothing to run":                   {},
		"first: a rate of -1 is below":     {Run: s.run, First: -1},
		"lowest: a rate of -1 is not":      {Run: s.run, Lowest: -1},
		"first: a rate of NaN is below":    {Run: s.run, First: math.NaN()},
		"highest: a rate of 10 is below":   {Run: s.run, First: 100, Highest: 10},
		"precision: 0.9 is not from 0.001": {Run: s.run, Precision: 0.9},
		"confirm: -1 is not from 1 to 100": {Run: s.run, Confirm: -1},
	} {
		_, err := search.Highest(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
	require.Zero(t, s.runs)
}
