package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// starts of the first n operations, relative to the begin, by connection.
func plannedStarts(p *plan, n int) (at []int64, conns []int) {
	for p.start(1e9); len(at) < n; p.advance() {
		at, conns = append(at, p.at-1e9), append(conns, p.conn)
	}
	return at, conns
}

func TestPlans(t *testing.T) {
	const n, conns, rate = 100000, 10, 1000.0
	for _, pace := range []string{PaceConstant, PacePoisson, PaceUniform} {
		t.Run(pace, func(t *testing.T) {
			at, where := plannedStarts(newPlan(pace, rate, conns, 0, rand.New(rand.NewPCG(1, 2))), n)
			again, _ := plannedStarts(newPlan(pace, rate, conns, 0, rand.New(rand.NewPCG(1, 2))), n)
			require.Equal(t, at, again, "the same seed plans the same run")
			require.True(t, slices.IsSorted(at))
			require.InEpsilon(t, 1e9*n/rate, at[n-1], 0.02)
			each := make([]int, conns)
			last := make([]int64, conns)
			var gaps, conn []float64
			for i, c := range where {
				if each[c] > 0 {
					conn = append(conn, float64(at[i]-last[c]))
				}
				each[c]++
				last[c] = at[i]
				if i > 0 {
					gaps = append(gaps, float64(at[i]-at[i-1]))
				}
			}
			for _, count := range each {
				require.InEpsilon(t, n/conns, count, 0.05)
			}
			mean, spread := spreadOf(gaps)
			require.InEpsilon(t, 1e6, mean, 0.02)
			connMean, connSpread := spreadOf(conn)
			require.InEpsilon(t, 1e7, connMean, 0.02)
			switch pace {
			case PaceConstant:
				require.Less(t, spread, 2.0)
			case PacePoisson: // exponential: the spread is the mean, of all and of each connection
				require.InEpsilon(t, mean, spread, 0.03)
				require.InEpsilon(t, connMean, connSpread, 0.03)
			case PaceUniform:
				require.Less(t, connSpread, 2.0)
				require.Greater(t, spread, mean/10, "connections are not in step")
			}
		})
	}
}

func spreadOf(values []float64) (mean, deviation float64) {
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		deviation += (v - mean) * (v - mean) / float64(len(values))
	}
	return mean, math.Sqrt(deviation)
}

func TestSizesAreDistributed(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	draw := func(text string) []int {
		s, err := ParseSizes(text)
		require.NoError(t, err)
		all := make([]int, 100000)
		for i := range all {
			all[i] = s.pick(random)
			require.LessOrEqual(t, s.smallest(), all[i])
			require.GreaterOrEqual(t, s.largest(), all[i])
		}
		slices.Sort(all)
		return all
	}
	all := draw("64")
	require.Equal(t, []int{64, 64}, []int{all[0], all[len(all)-1]})
	all = draw("100-200")
	require.Equal(t, []int{100, 200}, []int{all[0], all[len(all)-1]})
	require.InDelta(t, 150, all[len(all)/2], 2)
	all = draw("64:9,1024:1")
	require.InDelta(t, 90000, slices.Index(all, 1024), 500)
	all = draw("lognormal:200,1,100000")
	require.InEpsilon(t, 200, all[len(all)/2], 0.03)
	require.InEpsilon(t, 200*math.E, all[len(all)*8413/10000], 0.05, "one sigma above the median")
}

func TestPayload(t *testing.T) {
	for _, framing := range []string{FramingRaw, FramingLength, FramingLine} {
		p := payload{framing: framing, pattern: newPattern(5000, framing == FramingLine), zero: 7}
		for size := leastSize(framing); size < 200; size++ {
			m := message{size: size, planned: 42}
			p.write(&m, 3, 9, &bodyOf{})
			whole := make([]byte, size)
			for at := 0; at < size; { // in pieces
				at += p.fill(whole[at:min(size, at+7)], &m, at)
			}
			require.Equal(t, whole, p.cut(whole, size))
			s, right := p.read(whole)
			require.Equal(t, p.stamped(size), right)
			if right {
				require.Equal(t, stamp{3, 9, 49}, s)
			}
			for at := range whole {
				n, right := p.check(whole[at:], &m, at)
				require.True(t, right)
				require.Equal(t, size-at, n)
				whole[at] ^= 1
				_, right = p.check(whole[at:], &m, at)
				require.False(t, right, "framing %s, size %d, byte %d", framing, size, at)
				if p.stamped(size) && framing == FramingRaw {
					_, right = p.read(whole)
					require.False(t, right)
				}
				whole[at] ^= 1
			}
		}
	}
}

func TestStartsAreAQueue(t *testing.T) {
	var s starts
	in, out := int64(0), int64(0)
	for round := range 50 {
		for range round {
			s.push(in)
			in++
		}
		for range round * 2 / 3 {
			require.Equal(t, out, s.pop())
			out++
		}
		require.EqualValues(t, in-out, s.len())
	}
}
