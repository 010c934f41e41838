package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/strand-net/strand/bench/result"
)

// section is some charts under one heading.
type section struct {
	ID, Title, Note string
	Charts          []*chart
}

// sections are all charts of the page that have anything to show.
//
// Of a single run the lines of a chart are its figures; of several they are the runs, and each figure has a chart of its own.
func sections(groups []*group) []section {
	all := []section{
		{ID: "latency", Title: "Latency", Note: latencyNote, Charts: append(percentileCharts(groups), timeCharts(groups, latencyLines)...)},
		{ID: "rate", Title: "Load", Charts: append(rateCharts(groups), timeCharts(groups, loadLines)...)},
		{ID: "server", Title: "Server", Charts: append(timeCharts(groups, cpuLines), timeCharts(groups, memoryLines)...)},
	}
	for i := range all {
		all[i].Charts = slices.DeleteFunc(all[i].Charts, func(c *chart) bool { return len(c.lines) == 0 })
	}
	return slices.DeleteFunc(all, func(s section) bool { return len(s.Charts) == 0 })
}

const latencyNote = "Response is from the planned start of an exchange to its end, service from its real start, schedule lag from the planned to the real start."

// The percentiles of a curve: these mantissas, in each power of ten of 1/(1-p). 1, 2, 4 and 5 are 0, 50, 75 and 80 %.
var mantissas = []float64{1, 1.12, 1.25, 1.4, 1.6, 1.8, 2, 2.25, 2.5, 2.8, 3.2, 3.6, 4, 4.5, 5, 5.6, 6.3, 7.1, 8, 9}

// telling reports whether the percentile is one that stands in a table: 50, 75, 90, 95, 97.5, 99 and so on.
func telling(x float64) bool {
	mantissa := x / math.Pow(10, math.Floor(math.Log10(x)+1e-9))
	return slices.ContainsFunc([]float64{1, 2, 4}, func(m float64) bool { return math.Abs(mantissa-m) < 1e-6 })
}

// curve is latency by percentile, up to the one that the highest value stands for.
func curve(h *result.Histogram) (x, y []float64) {
	if !filled(h) {
		return nil, nil
	}
	count := float64(h.TotalCount())
	var percentiles []float64
	for decade := 1.0; decade <= count; decade *= 10 {
		for _, m := range mantissas {
			if at := decade * m; at <= count {
				x = append(x, at)
				percentiles = append(percentiles, 100-100/at)
			}
		}
	}
	for _, v := range h.ValueAtPercentilesSlice(percentiles) {
		y = append(y, float64(v))
	}
	if highest := float64(h.Max()); x[len(x)-1] < count {
		x, y = append(x, count), append(y, highest)
	}
	return x, y
}

// kinds are the three ways to see an exchange.
var kinds = []struct {
	title string
	of    func(latencies) *result.Histogram
}{
	{"Response", func(l latencies) *result.Histogram { return l.response }},
	{"Service", func(l latencies) *result.Histogram { return l.service }},
	{"Schedule lag", func(l latencies) *result.Histogram { return l.lag }},
}

func percentileCharts(groups []*group) []*chart {
	var charts []*chart
	operations := operationNames(groups)
	for i, name := range operations {
		suffix := ""
		if len(operations) > 1 {
			suffix = ": " + name
		}
		id := fmt.Sprintf("percentile-%d", i)
		single := &chart{ID: id, Title: "By percentile" + suffix, Unit: unitLatency, Kind: kindPercentile, Log: true, Wide: true}
		for k, kind := range kinds {
			each := &chart{ID: fmt.Sprintf("%s-%d", id, k), Title: kind.title + " by percentile" + suffix, Unit: unitLatency, Kind: kindPercentile, Log: true, Wide: k == 0}
			for _, g := range groups {
				x, y := curve(kind.of(g.merged[name]))
				each.add(g.Label, styleOf(g.Index), x, y)
				single.add(kind.title, styleOf(k), x, y)
			}
			if len(groups) > 1 {
				charts = append(charts, each)
			}
		}
		if len(groups) == 1 {
			charts = append(charts, single)
		}
	}
	return charts
}

func operationNames(groups []*group) []string {
	names := make(map[string]bool)
	for _, g := range groups {
		for name := range g.merged {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// series is what some charts over time show: of a single run together in one chart, of several in one for each.
type series struct {
	id, title string // of the chart of a single run; if title is empty, each has its own in any case
	unit      unit
	log       bool
	wide      bool
	of        []seriesLine
}

type seriesLine struct {
	id, title, short string // short is its name in a legend
	value            func([]result.Interval, int) float64
	alone            bool // it is shown of a single run only
}

var latencyLines = series{"latency-time", "Response over time", unitLatency, true, true, []seriesLine{
	{"p50", "Median response over time", "p50", latencyOf(func(i *result.Interval) int64 { return i.P50 }), false},
	{"p90", "p90 response over time", "p90", latencyOf(func(i *result.Interval) int64 { return i.P90 }), true},
	{"p99", "p99 response over time", "p99", latencyOf(func(i *result.Interval) int64 { return i.P99 }), false},
	{"p999", "p99.9 response over time", "p99.9", latencyOf(func(i *result.Interval) int64 { return i.P999 }), false},
	{"max", "Slowest response over time", "max", latencyOf(func(i *result.Interval) int64 { return i.Max }), false},
}}

var loadLines = series{"load", "", unitCount, false, false, []seriesLine{
	{"connections", "Connections", "connections", func(in []result.Interval, i int) float64 { return float64(in[i].Conns) }, false},
	{"in-flight", "In flight", "in flight", func(in []result.Interval, i int) float64 { return float64(in[i].InFlight) }, false},
	{"errors", "Errors in each interval", "errors", func(in []result.Interval, i int) float64 { return float64(in[i].Errors) }, false},
}}

var cpuLines = series{"cpu", "CPU", unitCores, false, false, []seriesLine{
	{"cpu-all", "CPU", "user and system", cpuOf(func(s *result.Sample) float64 { return s.CPUUser + s.CPUSystem }), false},
	{"cpu-user", "CPU in user mode", "user", cpuOf(func(s *result.Sample) float64 { return s.CPUUser }), false},
	{"cpu-system", "CPU in the kernel", "system", cpuOf(func(s *result.Sample) float64 { return s.CPUSystem }), false},
}}

var memoryLines = series{"memory", "Memory", unitBytes, false, false, []seriesLine{
	{"rss", "Resident memory (RSS)", "RSS", bytesOf(func(s *result.Sample) int64 { return s.RSS }), false},
	{"pss", "Proportional memory (PSS)", "PSS", bytesOf(func(s *result.Sample) int64 { return s.PSS }), false},
	{"heap", "Go heap", "Go heap", bytesOf(func(s *result.Sample) int64 {
		if s.Runtime == nil {
			return 0
		}
		return s.Runtime.Heap
	}), false},
	{"tcp", "TCP memory of the machine, both ends", "TCP memory of the machine", bytesOf(func(s *result.Sample) int64 { return s.TCPMemory }), false},
}}

// latencyOf is missing where nothing ended.
func latencyOf(of func(*result.Interval) int64) func([]result.Interval, int) float64 {
	return func(in []result.Interval, i int) float64 { return known(float64(of(&in[i]))) }
}

func bytesOf(of func(*result.Sample) int64) func([]result.Interval, int) float64 {
	return func(in []result.Interval, i int) float64 {
		if in[i].Server == nil {
			return math.NaN()
		}
		return known(float64(of(in[i].Server)))
	}
}

// cpuOf is the CPU that was used since the sample before, in cores.
func cpuOf(of func(*result.Sample) float64) func([]result.Interval, int) float64 {
	return func(in []result.Interval, i int) float64 {
		if i == 0 || in[i].Server == nil || in[i-1].Server == nil {
			return math.NaN()
		}
		cores, ok := ratio(of(in[i].Server)-of(in[i-1].Server), in[i].Server.At-in[i-1].Server.At)
		if !ok || cores < 0 { // another process, or the samples do not tell when they were taken
			return math.NaN()
		}
		return cores
	}
}

func known(v float64) float64 {
	if v <= 0 {
		return math.NaN()
	}
	return v
}

// timeline is the intervals of a run and when they begin.
type timeline struct {
	x  []float64
	in []result.Interval

	targetX, target []float64 // what was planned
}

// newTimeline has the intervals in the order of time, which a file need not have. Of several with the same begin it has the first.
func newTimeline(r *result.Run) timeline {
	t := timeline{in: slices.Clone(r.Intervals)}
	slices.SortStableFunc(t.in, func(a, b result.Interval) int { return cmp.Compare(a.Begin, b.Begin) })
	t.in = slices.CompactFunc(t.in, func(a, b result.Interval) bool { return a.Begin == b.Begin })
	for i := range t.in {
		begin := t.in[i].Begin
		t.x = append(t.x, begin)
		if i > 0 && t.in[i].Target != t.in[i-1].Target && beginsWindow(r, begin) { // a step, and no slope
			t.targetX, t.target = append(t.targetX, begin-stepWidth*(begin-t.in[i-1].Begin)), append(t.target, known(t.in[i-1].Target))
		}
		t.targetX, t.target = append(t.targetX, begin), append(t.target, known(t.in[i].Target))
	}
	return t
}

// stepWidth is how much of an interval a step is drawn over.
const stepWidth = 0.02

// beginsWindow reports whether a window begins then, to within what a file keeps of a time.
func beginsWindow(r *result.Run, at float64) bool {
	return slices.ContainsFunc(r.Windows, func(w result.Window) bool { return math.Abs(w.Begin-at) < 1e-3 })
}

func timeCharts(groups []*group, s series) []*chart {
	var charts []*chart
	together := len(groups) == 1 && s.title != ""
	if together {
		charts = append(charts, &chart{ID: s.id, Title: s.title, Unit: s.unit, Kind: kindTime, Log: s.log, Wide: s.wide})
	}
	for k, l := range s.of {
		if l.alone && len(groups) > 1 {
			continue
		}
		c := &chart{ID: l.id, Title: l.title, Unit: s.unit, Kind: kindTime, Log: s.log}
		for _, g := range groups {
			for _, t := range g.timelines {
				y := make([]float64, len(t.in))
				for i := range t.in {
					y[i] = l.value(t.in, i)
				}
				if l.id == "errors" && !slices.ContainsFunc(y, func(v float64) bool { return v != 0 }) {
					continue // no errors need no chart
				}
				switch {
				case together:
					charts[0].add(l.short, styleOf(k), t.x, y)
				case len(groups) == 1:
					c.add(l.short, styleOf(0), t.x, y)
				default:
					c.add(g.Label, styleOf(g.Index), t.x, y)
				}
			}
		}
		if !together {
			charts = append(charts, c)
		}
	}
	return charts
}

// rateCharts shows what was achieved beside what was planned.
func rateCharts(groups []*group) []*chart {
	c := &chart{ID: "rate-time", Title: "Operations a second", Unit: unitRate, Kind: kindTime, Wide: true}
	for _, g := range groups {
		for _, t := range g.timelines {
			x, rate := t.x, make([]float64, len(t.in))
			for i := range t.in {
				rate[i] = t.in[i].Rate
			}
			if len(groups) == 1 {
				c.add("achieved", styleOf(0), x, rate)
				c.add("target", styleOf(1), t.targetX, t.target)
				continue
			}
			// The target of a run has its colour and the dashes of another.
			style := styleOf(g.Index)
			c.add(g.Label, style, x, rate)
			style.Dash = (style.Dash + dashes/2) % dashes
			c.add(g.Label+", target", style, t.targetX, t.target)
		}
	}
	return []*chart{c}
}
