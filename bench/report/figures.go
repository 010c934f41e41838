package report

import (
	"math"
	"slices"

	"github.com/strand-net/strand/bench/result"
)

// figure is one number that sums up a run.
type figure struct {
	id    string
	title string
	unit  unit
	// better is 1 if more is better, -1 if less is, 0 if neither.
	better int
	// value is not known of every run: nobody may have watched the server.
	value func(*summary) (float64, bool)
}

// summary is a run and what all figures of it need.
type summary struct {
	*result.Run
	latencies
	operations, messages, bytes int64
	seconds, cpu                float64 // of the windows, and of the server within them
}

func summarize(r *result.Run) (*summary, error) {
	alone := group{runs: []*result.Run{r}}
	if err := alone.merge(); err != nil {
		return nil, err
	}
	s := &summary{Run: r, latencies: alone.all}
	for i := range r.Windows {
		w := &r.Windows[i]
		s.operations += w.Operations
		s.messages += w.Messages
		s.bytes += w.BytesIn + w.BytesOut
		s.seconds += w.Seconds
		s.cpu += w.CPUUser + w.CPUSystem
	}
	return s, nil
}

// rate is what was achieved, over all windows.
func (s *summary) rate() (float64, bool) { return ratio(float64(s.operations), s.seconds) }

func ratio(a, b float64) (float64, bool) {
	if r := a / b; b > 0 && !math.IsInf(r, 0) {
		return r, true
	}
	return 0, false
}

// quantile is known of a histogram that has recorded enough to have it: the 99.9th percentile of a hundred values is but their highest.
func quantile(h *result.Histogram, percent float64) (float64, bool) {
	if !filled(h) || percent < 100 && float64(h.TotalCount())*(100-percent) < 99.999 {
		return 0, false
	}
	if percent == 100 {
		return float64(h.Max()), true
	}
	return float64(h.ValueAtQuantile(percent)), true
}

// perConn is the growth of what a sample tells from before the first connection until all were there, for each.
func (s *summary) perConn(of func(*result.Sample) int64) (float64, bool) {
	if s.Server == nil || s.Connect.Made == 0 || of(&s.Server.Before) == 0 || of(&s.Server.Idle) == 0 {
		return 0, false
	}
	return float64(of(&s.Server.Idle)-of(&s.Server.Before)) / float64(s.Connect.Made), true
}

func (s *summary) errors() int64 {
	var sum int64
	for _, n := range s.Errors {
		sum += n
	}
	return sum
}

// perServer is known of a run whose server was watched.
func perServer(value func(*summary) float64) func(*summary) (float64, bool) {
	return func(s *summary) (float64, bool) {
		if s.Server == nil {
			return 0, false
		}
		v := value(s)
		return v, v > 0
	}
}

var figures = []figure{
	{"rate", "Operations", unitRate, 1, (*summary).rate},
	{"messages", "Messages", unitRate, 1, func(s *summary) (float64, bool) { return ratio(float64(s.messages), s.seconds) }},
	{"p50", "Median response", unitLatency, -1, func(s *summary) (float64, bool) { return quantile(s.response, 50) }},
	{"p99", "p99 response", unitLatency, -1, func(s *summary) (float64, bool) { return quantile(s.response, 99) }},
	{"p999", "p99.9 response", unitLatency, -1, func(s *summary) (float64, bool) { return quantile(s.response, 99.9) }},
	{"max", "Slowest response", unitLatency, -1, func(s *summary) (float64, bool) { return quantile(s.response, 100) }},
	{"service99", "p99 service", unitLatency, -1, func(s *summary) (float64, bool) { return quantile(s.service, 99) }},
	{"lag99", "p99 schedule lag", unitLatency, 0, func(s *summary) (float64, bool) { return quantile(s.lag, 99) }},
	{"cpu", "Server CPU per message", unitLatency, -1, func(s *summary) (float64, bool) {
		if s.cpu == 0 {
			return 0, false
		}
		return ratio(s.cpu*1e9, float64(s.messages))
	}},
	{"rss", "Peak resident memory", unitBytes, -1, perServer(func(s *summary) float64 { return float64(s.Server.MaxRSS) })},
	{"idle", "Memory per idle connection", unitBytes, -1, func(s *summary) (float64, bool) {
		return s.perConn(func(sample *result.Sample) int64 { return sample.RSS })
	}},
	{"tcp", "TCP memory per idle connection, both ends", unitBytes, 0, func(s *summary) (float64, bool) {
		return s.perConn(func(sample *result.Sample) int64 { return sample.TCPMemory })
	}},
	{"errors", "Errors", unitCount, -1, func(s *summary) (float64, bool) { return float64(s.errors()), true }},
	{"connects", "Connects", unitRate, 1, func(s *summary) (float64, bool) { return ratio(float64(s.Connect.Made), s.Connect.Seconds) }},
	{"connect99", "p99 connect", unitLatency, -1, func(s *summary) (float64, bool) { return quantile(s.Connect.Latency, 99) }},
	{"busiest", "Busiest generator thread", unitShare, 0, func(s *summary) (float64, bool) { return s.Generator.Busiest, s.Generator.Busiest > 0 }},
}

func figureOf(id string) *figure {
	return &figures[slices.IndexFunc(figures, func(f figure) bool { return f.id == id })]
}

// measured is what a figure came to over the rounds of a group.
type measured struct {
	known    bool
	median   float64
	low      float64
	high     float64
	ratio    measuredRatio
	of       int // rounds that have it
	isFigure *figure
}

// measuredRatio is that of a group to the base. Where both have as many rounds it is the median of the rounds' own ratios, so that a change of
// the machine from round to round does not enter it; else that of their medians, and low and high are the same.
type measuredRatio struct {
	known             bool
	median, low, high float64
}

func (f *figure) measure(group, base []*summary) measured {
	values := f.values(group)
	m := measured{isFigure: f, of: len(values)}
	if len(values) == 0 {
		return m
	}
	m.known = true
	m.median, m.low, m.high = median(values), slices.Min(values), slices.Max(values)
	bases := f.values(base)
	var ratios []float64
	if len(bases) == len(values) && len(values) == len(group) && len(bases) == len(base) {
		for i := range values {
			ratios = append(ratios, values[i]/bases[i])
		}
	} else if len(bases) > 0 {
		ratios = []float64{m.median / median(bases)}
	}
	// A base of 0 has no ratio.
	ratios = slices.DeleteFunc(ratios, func(r float64) bool { return math.IsNaN(r) || math.IsInf(r, 0) })
	if len(ratios) > 0 {
		m.ratio = measuredRatio{true, median(ratios), slices.Min(ratios), slices.Max(ratios)}
	}
	return m
}

func (f *figure) values(of []*summary) []float64 {
	var values []float64
	for _, s := range of {
		if v, known := f.value(s); known {
			values = append(values, v)
		}
	}
	return values
}

// median is that of at least one value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return sorted[mid-1]/2 + sorted[mid]/2
}
