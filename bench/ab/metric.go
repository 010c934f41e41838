package ab

import (
	"github.com/strand-net/strand/bench/result"
)

// metric is one figure of a run.
type metric struct {
	name, unit string
	higher     bool // is better
	value      func(*result.Run) (value float64, known bool)
}

var metrics = []metric{
	{"operations", "/s", true, func(r *result.Run) (float64, bool) {
		operations, seconds, _ := total(r)
		return operations / seconds, seconds > 0
	}},
	{"p50", "ns", false, quantile(50)},
	{"p90", "ns", false, quantile(90)},
	{"p99", "ns", false, quantile(99)},
	{"p99.9", "ns", false, quantile(99.9)},
	{"server CPU", "ns/operation", false, func(r *result.Run) (float64, bool) {
		operations, _, cpu := total(r)
		return cpu * 1e9 / operations, cpu > 0 && operations > 0
	}},
	{"server memory", "B", false, func(r *result.Run) (float64, bool) {
		if r.Server == nil {
			return 0, false
		}
		return float64(r.Server.MaxRSS), r.Server.MaxRSS > 0
	}},
}

func total(r *result.Run) (operations, seconds, cpu float64) {
	for _, w := range r.Windows {
		operations += float64(w.Operations)
		seconds += w.Seconds
		cpu += w.CPUUser + w.CPUSystem
	}
	return operations, seconds, cpu
}

func operations(r *result.Run) float64 {
	n, _, _ := total(r)
	return n
}

// quantile is one of the time from planned start to end, over all operations.
func quantile(q float64) func(*result.Run) (float64, bool) {
	return func(r *result.Run) (float64, bool) {
		all := result.NewHistogram()
		for _, operation := range r.Operations {
			if operation.Response != nil && operation.Response.Histogram != nil {
				all.Merge(operation.Response.Histogram) // of the same range: nothing is dropped
			}
		}
		return float64(all.ValueAtQuantile(q)), all.TotalCount() > 0
	}
}
