package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

// A target that changes with a window is drawn as a step, beside what was achieved, and each window says what came of its own.
func TestReportOfStages(t *testing.T) {
	r := run("net", 6, 1)
	r.Windows = []result.Window{
		{Begin: 0, Seconds: 2, Operations: 2000, Target: 1000, P50: 1e6, P99: 2e6, Max: 3e6},
		{Begin: 2, Seconds: 1.5, Operations: 2900, Target: 2000, P50: 4e6, P99: 5e6, Max: 6e6},
		{Begin: 3.5, Seconds: 2, Operations: 6000, Target: 3000, P50: 7e6, P99: 8e6, Max: 9e6},
	}
	r.Intervals = nil
	for _, i := range [][3]float64{{-1, 1, 1000}, {0, 1, 1000}, {1, 1, 1000}, {2, 1, 2000}, {3, 0.5, 2000}, {3.5, 1, 2500}, {4.5, 1, 3500}} {
		r.Intervals = append(r.Intervals, result.Interval{Begin: i[0], Seconds: i[1], Target: i[2], Rate: i[2] - 10, P50: 1})
	}
	line := newTimeline(r)
	require.InDeltaSlice(t, []float64{-1, 0, 1, 1.98, 2, 3, 3.49, 3.5, 4.5}, line.targetX, 1e-9)
	require.InDeltaSlice(t, []float64{1000, 1000, 1000, 1000, 2000, 2000, 2000, 2500, 3500}, line.target, 1e-9, "a ramp is none")
	require.Len(t, line.x, 7, "what was achieved has no steps")

	page := write(t, r)
	require.True(t, strings.Contains(page, "<th scope=\"col\">Planned</th>"))
	for _, row := range []string{"1,000/s", "2,000/s", "3,000/s", "5\u00a0ms", "9\u00a0ms"} {
		require.True(t, strings.Contains(page, "<td>"+row+"</td>"), row)
	}
	require.True(t, strings.Contains(page, "[-1,0,1,1.98,2,3,3.49,3.5,4.5]"))
}
