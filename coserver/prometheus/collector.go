// Package prometheus collects what strand's servers and engines count for programs that use client_golang. It is a module of its own, so
// that nobody else has that among their dependencies.
package prometheus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/metrics"
)

// NewServerCollector returns a collector of the Stats of s, in the names of package metrics. name is the label server of each; one
// Registry may have several servers, of different names.
func NewServerCollector(name string, s *coserver.Server) prometheus.Collector {
	return collector{func() []metrics.Family { return metrics.OfServer(name, s.Stats()) }}
}

// NewEngineCollector returns a collector of the Stats of e, in the names of package metrics. name is the label engine of each. The
// lag of its loops is among them if EngineConfig.LagInterval has it measured.
func NewEngineCollector(name string, e *coserver.Engine) prometheus.Collector {
	return collector{func() []metrics.Family { return metrics.OfEngine(name, e.Stats()) }}
}

// collector passes on what collect returns. Names and labels are constants of the programs, so what client_golang would not take of
// them shows in the first test.
type collector struct{ collect func() []metrics.Family }

// Describe sends what there is now; it does not change. The name is part of it, as a constant label, so that servers of one Registry
// do not collide, and two of the same name do.
func (c collector) Describe(descs chan<- *prometheus.Desc) {
	for _, f := range c.collect() {
		if len(f.Samples) > 0 {
			descs <- describe(f, f.Samples[0])
		}
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, f := range c.collect() {
		for _, s := range f.Samples {
			out <- metric(f, s)
		}
	}
}

// describe makes the first label, whose value all samples share, a constant one.
func describe(f metrics.Family, s metrics.Sample) *prometheus.Desc {
	return prometheus.NewDesc(f.Name, f.Help, f.Labels[1:], prometheus.Labels{f.Labels[0]: s.Labels[0]})
}

func metric(f metrics.Family, s metrics.Sample) prometheus.Metric {
	desc, values := describe(f, s), s.Labels[1:]
	switch f.Kind {
	case metrics.Histogram:
		buckets := make(map[float64]uint64, len(s.Buckets))
		for _, b := range s.Buckets {
			buckets[b.Limit] = b.Count
		}
		return prometheus.MustNewConstHistogram(desc, s.Count, s.Value, buckets, values...)
	case metrics.Gauge:
		return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, s.Value, values...)
	}
	return prometheus.MustNewConstMetric(desc, prometheus.CounterValue, s.Value, values...)
}
