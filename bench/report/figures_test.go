package report

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

func TestLabelsSayWhatSetsRunsApart(t *testing.T) {
	named := func(name, server string, tags ...string) *result.Run {
		r := &result.Run{Name: name, Tags: map[string]string{}}
		if server != "" {
			r.Server = &result.Server{Name: server}
		}
		for i := 0; i < len(tags); i += 2 {
			r.Tags[tags[i]] = tags[i+1]
		}
		return r
	}
	for _, c := range []struct {
		runs []*result.Run
		want []string
	}{
		{[]*result.Run{named("echo", "net")}, []string{"echo"}},
		{[]*result.Run{named("", "")}, []string{"unnamed run"}},
		{[]*result.Run{named("echo", "net"), named("echo", "loop")}, []string{"net", "loop"}},
		{[]*result.Run{named("echo", "net"), named("line", "net")}, []string{"echo", "line"}},
		{[]*result.Run{named("echo", "net"), named("line", "loop")}, []string{"echo, net", "line, loop"}},
		{[]*result.Run{named("echo", "net", "commit", "a"), named("echo", "net", "commit", "b")}, []string{"commit=a", "commit=b"}},
		{[]*result.Run{named("echo", "net"), named("echo", "net")}, []string{"echo #1", "echo #2"}},
		{
			[]*result.Run{named("echo", "net", "round", "1"), named("echo", "loop", "round", "1"), named("echo", "net", "round", "2"), named("echo", "loop", "round", "2")},
			[]string{"net", "loop"},
		},
		{[]*result.Run{named("echo", "net", "round", "1"), named("echo", "net")}, []string{"echo #1", "echo #2"}},
	} {
		groups, err := newGroups(c.runs)
		require.NoError(t, err)
		var labels []string
		for i, g := range groups {
			labels = append(labels, g.Label)
			require.Equal(t, i, g.Index)
		}
		require.Equal(t, c.want, labels)
	}
}

// rounds returns runs of as many operations a second, each of the server and a round.
func rounds(server string, rates ...int64) []*result.Run {
	var runs []*result.Run
	for i, rate := range rates {
		runs = append(runs, &result.Run{
			Server: &result.Server{Name: server}, Tags: map[string]string{result.TagRound: fmt.Sprint(i)},
			Windows: []result.Window{{Seconds: 2, Operations: rate, Messages: rate}, {Seconds: 2, Operations: 3 * rate, Messages: 3 * rate}},
		})
	}
	return runs
}

func TestRatios(t *testing.T) {
	// The machine is three times as fast in the last round: the ratio of the medians would be 300/100.
	groups, err := newGroups(append(rounds("net", 100, 100, 300), rounds("loop", 200, 400, 300)...))
	require.NoError(t, err)
	require.Len(t, groups, 2)
	m := figureOf("rate").measure(groups[1].summaries, groups[0].summaries)
	require.Equal(t, measuredRatio{true, 2, 1, 4}, m.ratio)
	require.Equal(t, 300.0, m.median)
	require.Equal(t, 3, m.of)

	// Other numbers of rounds have no pairs.
	groups, err = newGroups(append(rounds("net", 100, 200), rounds("loop", 300)...))
	require.NoError(t, err)
	require.Equal(t, measuredRatio{true, 2, 2, 2}, figureOf("rate").measure(groups[1].summaries, groups[0].summaries).ratio)

	require.False(t, figureOf("rate").measure(groups[1].summaries, []*summary{{}}).ratio.known)
	require.False(t, figureOf("p99").measure(groups[1].summaries, groups[0].summaries).known, "nobody has recorded a latency")
}

func TestRatioInWords(t *testing.T) {
	for _, c := range []struct {
		ratio      measuredRatio
		better     int
		text, tone string
	}{
		{measuredRatio{true, 1.5, 1.5, 1.5}, 1, "×1.50 better", "good"},
		{measuredRatio{true, 1.5, 1.5, 1.5}, -1, "×1.50 worse", "bad"},
		{measuredRatio{true, 0.5, 0.4, 0.6}, -1, "×0.50 (0.40–0.60) better", "good"},
		{measuredRatio{true, 0.5, 0.4, 1.1}, -1, "×0.50 (0.40–1.10)", ""},
		{measuredRatio{true, 1.001, 1.001, 1.001}, 1, "×1.00", ""},
		{measuredRatio{true, 2, 2, 2}, 0, "×2.00", ""},
		{measuredRatio{true, 12345, 12345, 12345}, -1, "×12,345 worse", "bad"},
	} {
		text, tone := c.ratio.text(c.better)
		require.Equal(t, []string{c.text, c.tone}, []string{text, tone})
	}
}

func TestFiguresOfOneRun(t *testing.T) {
	r := run("loop", 30, 1)
	s, err := summarize(r)
	require.NoError(t, err)
	for id, want := range map[string]float64{"rate": 49_900, "messages": 49_900, "cpu": 20_040, "idle": 8000, "tcp": 5243, "errors": 0, "connects": 4762, "busiest": 0.62} {
		v, known := figureOf(id).value(s)
		require.True(t, known, id)
		require.InEpsilon(t, 1+want, 1+v, 0.001, id)
	}
	p99, _ := figureOf("p99").value(s)
	require.Equal(t, float64(r.Operations["echo"].Response.ValueAtQuantile(99)), p99)
}

func TestQuantilesThatAreThere(t *testing.T) {
	h := result.NewHistogram()
	for range 100 {
		h.Record(5e6)
	}
	_, known := quantile(h, 99)
	require.True(t, known)
	_, known = quantile(h, 99.9)
	require.False(t, known, "a hundred values have no 99.9th percentile")
	v, known := quantile(h, 100)
	require.True(t, known)
	require.InEpsilon(t, 5e6, v, 0.001)
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		unit unit
		v    float64
		want string
	}{
		{unitLatency, 0, "0 ns"}, {unitLatency, 999, "999 ns"}, {unitLatency, 999.6, "1.00 µs"}, {unitLatency, 1500, "1.50 µs"}, {unitLatency, 12_345_678, "12.3 ms"},
		{unitLatency, 3.6e12, "3,600 s"}, {unitBytes, 1023.9, "1.00 KiB"}, {unitBytes, 1 << 20, "1 MiB"}, {unitBytes, 5 << 50, "5,120 TiB"}, {unitBytes, -2048, "-2 KiB"},
		{unitRate, 1234567.8, "1,234,568/s"}, {unitRate, 0.1234, "0.123/s"}, {unitShare, 0.998, "99.8 %"}, {unitCount, 1e15, "1e+15"}, {unitCount, 1e-12, "1e-12"},
		{unitCores, 1, "1 core"}, {unitCores, 1.25, "1.25 cores"}, {unitSeconds, 0.5, "0.500 s"}, {unitCount, -1234567, "-1,234,567"},
	} {
		require.Equal(t, c.want, plain(c.unit.format(c.v)))
	}
	require.Equal(t, "9,223,372,036,854,775,807", integer(int64(math.MaxInt64)))
	require.Equal(t, "-1,000", integer(-1000))
	require.Equal(t, []string{"0", "50", "90", "99", "99.9", "99.99", "99.5"}, []string{
		percentText(1), percentText(2), percentText(10), percentText(100), percentText(1000), percentText(10000), percentText(200),
	})
}
