package report

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

func wave(n int) (x, y []float64) {
	for i := range n {
		x = append(x, float64(i))
		y = append(y, 10+math.Sin(float64(i)/float64(n)*20))
	}
	return x, y
}

func TestFewerPointsKeepTheShape(t *testing.T) {
	for _, n := range []int{3, 4, 5, 10, 333} {
		for _, length := range []int{0, 1, 2, n - 1, n, n + 1, 2*n + 1, 10_000} {
			x, y := wave(length)
			if length > 100 {
				y[length/3] = 500 // one moment among many
			}
			chosen := lttb(x, y, n)
			require.LessOrEqual(t, len(chosen), min(n, length), "%d of %d", n, length)
			require.GreaterOrEqual(t, len(chosen), min(n, length)-1, "%d of %d", n, length) // the highest may be the first or the last
			require.True(t, slices.IsSorted(chosen))
			require.Equal(t, len(chosen), len(slices.Compact(slices.Clone(chosen))), "a point twice")
			if length > 0 {
				require.Equal(t, 0, chosen[0])
				require.Equal(t, length-1, chosen[len(chosen)-1])
			}
			if length > 100 && n > 3 {
				require.Contains(t, chosen, length/3, "the highest moment is lost: %d of %d", n, length)
			}
		}
	}
}

// Between the points that are left the line is nowhere far from what it was.
func TestFewerPointsAreNearTheLine(t *testing.T) {
	x, y := wave(20_000)
	chosen := lttb(x, y, 200)
	for i := range len(chosen) - 1 {
		a, b := chosen[i], chosen[i+1]
		for at := a; at <= b; at++ {
			line := y[a] + (y[b]-y[a])*(x[at]-x[a])/(x[b]-x[a])
			require.InDelta(t, y[at], line, 0.05)
		}
	}
}

func TestGapsAreKept(t *testing.T) {
	x, y := wave(10_000)
	for i := 4000; i < 6000; i++ {
		y[i] = math.NaN()
	}
	chosen := lttb(x, y, 300)
	require.True(t, slices.ContainsFunc(chosen, func(i int) bool { return i >= 4000 && i < 6000 }))
}

func TestCurve(t *testing.T) {
	h := result.NewHistogram()
	for i := range 10_000 {
		h.Record(int64(i+1) * 1000)
	}
	x, y := curve(h)
	require.True(t, slices.IsSorted(x))
	require.True(t, slices.IsSorted(y))
	require.Equal(t, 1.0, x[0])
	require.Equal(t, 10_000.0, x[len(x)-1])
	require.InEpsilon(t, 10e6, y[len(y)-1], 0.001)
	for percentile, want := range map[float64]float64{2: 5e6, 10: 9e6, 100: 9.9e6, 1000: 9.99e6} {
		require.InEpsilon(t, want, y[slices.Index(x, percentile)], 0.002, "%v", percentile)
	}
	x, _ = curve(result.NewHistogram())
	require.Empty(t, x)
	h.Reset()
	h.Record(1e6)
	x, y = curve(h)
	require.Equal(t, []float64{1}, x)
	require.Len(t, y, 1)
	require.InEpsilon(t, 1e6, y[0], 0.001)
}

func TestPointsAreWrittenShort(t *testing.T) {
	text, err := json.Marshal([]number{0, 1, 123456.789, 0.123456789, 1e300, -1e300, 1e-300, 5e-324, number(math.MaxFloat64), number(math.NaN()), 49612.3})
	require.NoError(t, err)
	require.Equal(t, `[0,1,123460,0.12346,1e+300,-1e+300,0,0,1.7976931348623157e+308,null,49612]`, string(text))
}

func TestCPUIsWhatWasUsedBetweenSamples(t *testing.T) {
	in := []result.Interval{
		{Server: &result.Sample{At: 1, CPUUser: 5}}, {Server: &result.Sample{At: 3, CPUUser: 8}}, {}, {Server: &result.Sample{At: 5, CPUUser: 9}},
		{Server: &result.Sample{At: 5, CPUUser: 10}}, {Server: &result.Sample{At: 6, CPUUser: 1}},
	}
	cores := cpuOf(func(s *result.Sample) float64 { return s.CPUUser })
	require.Equal(t, 1.5, cores(in, 1))
	for _, i := range []int{0, 2, 3, 4, 5} {
		require.True(t, math.IsNaN(cores(in, i)), "%d", i)
	}
}

func TestStylesDiffer(t *testing.T) {
	seen := make(map[style]bool)
	for i := range colours * dashes {
		require.False(t, seen[styleOf(i)], "%d", i)
		seen[styleOf(i)] = true
	}
	require.Equal(t, "8,4", style{0, 1}.Dashes())
	require.Empty(t, style{0, 0}.Dashes())
}

func TestChartInNumbers(t *testing.T) {
	c := &chart{Title: "Memory", Unit: unitBytes, Kind: kindTime}
	x, y := wave(100)
	y[50] = 4096
	c.add("a", styleOf(0), x, y)
	c.add("b", styleOf(1), []float64{0, 10}, []float64{1024, math.NaN()})
	c.add("nothing", styleOf(2), x[:1], []float64{math.NaN()})
	require.Len(t, c.Legend, 2)
	require.Equal(t, "Memory. a: median 10.1 B, highest 4 KiB at 50 s; b: median 1 KiB, highest 1 KiB at 0 s.", plain(c.Summary()))
	table := c.Table()
	require.LessOrEqual(t, len(table.Rows), rows)
	require.Equal(t, []string{"Time", "a", "b"}, table.Head)
	require.Equal(t, "1 KiB", plain(table.Rows[0][2].Text))
	require.Equal(t, "–", table.Rows[len(table.Rows)-1][2].Text)
	require.Contains(t, table.Note, "One of every 5 points")
}

func TestPercentilesInNumbers(t *testing.T) {
	h := result.NewHistogram()
	for i := range 1000 {
		h.Record(int64(i+1) * 1e6)
	}
	c := &chart{Title: "Response", Unit: unitLatency, Kind: kindPercentile}
	x, y := curve(h)
	c.add("net", styleOf(0), x, y)
	var percentiles []string
	for _, row := range c.Table().Rows {
		percentiles = append(percentiles, plain(row[0].Text))
	}
	require.Equal(t, []string{"0 %", "50 %", "75 %", "90 %", "95 %", "97.5 %", "99 %", "99.5 %", "99.75 %", "99.9 %"}, percentiles)
}
