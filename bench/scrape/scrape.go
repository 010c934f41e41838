// Package scrape tells Prometheus of a load while it runs. It is apart from the generator, which knows no engine: it names and writes
// figures as coserver/metrics does.
package scrape

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/coserver/metrics"
)

// Exporter holds what is told. Its methods may be called by any goroutine.
type Exporter struct {
	mu       sync.Mutex
	header   result.LogHeader
	interval result.Interval // the latest
	errors   int64
	took     map[series]*buckets
}

// series is what one histogram is of.
type series struct{ kind, operation string }

// buckets is a histogram as Prometheus has it: how many values were no larger than each of the limits.
type buckets struct {
	counts []uint64 // by the index of limits
	count  uint64
	sum    float64 // in seconds
}

// limits are those of all histograms, in nanoseconds: 1, 2.5 and 5 of each power of ten from 10 µs to 10 s.
var limits = func() (all []int64) {
	for power := int64(10_000); power < 10_000_000_000; power *= 10 {
		all = append(all, power, power*5/2, power*5)
	}
	return append(all, 10_000_000_000)
}()

// New returns an exporter for the run with that header. It has nothing to tell yet but that.
func New(header result.LogHeader) *Exporter {
	return &Exporter{header: header, took: make(map[series]*buckets)}
}

// Publish adds what happened in a second: its figures, and what it has added to the log of histograms. It keeps none of the histograms.
func (e *Exporter) Publish(interval result.Interval, entries []result.Entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.interval = interval
	e.errors += interval.Errors
	for _, entry := range entries {
		key := series{entry.Kind, entry.Operation}
		if e.took[key] == nil {
			e.took[key] = &buckets{counts: make([]uint64, len(limits))}
		}
		e.took[key].add(entry.Histogram)
	}
}

// add counts a value as no larger than a limit if all of what its bar stands for is: at worst it stands one limit too high, by the
// exactness of the histogram.
func (b *buckets) add(h *result.Histogram) {
	b.count += uint64(h.TotalCount())
	b.sum += h.Mean() * float64(h.TotalCount()) / 1e9
	for _, bar := range h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		first, _ := slices.BinarySearch(limits, bar.To)
		for i := first; i < len(limits); i++ {
			b.counts[i] += uint64(bar.Count)
		}
	}
}

// ServeHTTP answers with the figures in the text format of Prometheus.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	metrics.Handler(e.families).ServeHTTP(w, r)
}

func (e *Exporter) families() []metrics.Family {
	e.mu.Lock()
	defer e.mu.Unlock()
	one := func(name, help string, kind metrics.Kind, value float64) metrics.Family {
		return metrics.Family{Name: name, Help: help, Kind: kind, Samples: []metrics.Sample{{Value: value}}}
	}
	i := &e.interval
	latest := metrics.Family{Name: "strand_load_latest_response_seconds", Kind: metrics.Gauge, Labels: []string{"quantile"},
		Help: "From planned start to end, over all operations of the latest second."}
	for _, q := range []struct {
		name string
		ns   int64
	}{{"0.5", i.P50}, {"0.9", i.P90}, {"0.99", i.P99}, {"0.999", i.P999}, {"1", i.Max}} {
		latest.Samples = append(latest.Samples, metrics.Sample{Labels: []string{q.name}, Value: float64(q.ns) / 1e9})
	}
	all := []metrics.Family{
		{Name: "strand_load_info", Help: "Which run this is, and which shard of it.", Kind: metrics.Gauge, Labels: []string{"run", "shard"},
			Samples: []metrics.Sample{{Labels: []string{e.header.Run, fmt.Sprintf("%dof%d", e.header.Shard.Index, e.header.Shard.Of)}, Value: 1}}},
		one("strand_load_connections", "Connections that are open.", metrics.Gauge, float64(i.Conns)),
		one("strand_load_in_flight", "Operations that have begun and not ended.", metrics.Gauge, float64(i.InFlight)),
		one("strand_load_target_rate", "Operations a second that are planned; 0 in a closed loop.", metrics.Gauge, i.Target),
		one("strand_load_rate", "Operations that ended in the latest second.", metrics.Gauge, i.Rate),
		one("strand_load_errors_total", "Operations that failed.", metrics.Counter, float64(e.errors)),
		latest,
	}
	for _, kind := range []struct{ name, help string }{
		{result.KindResponse, "From planned start to end of operations, the warm-up included."},
		{result.KindService, "From start to end of operations, the warm-up included."},
		{result.KindLag, "From planned start to start of operations, the warm-up included."},
	} {
		f := metrics.Family{Name: "strand_load_" + kind.name + "_seconds", Help: kind.help, Kind: metrics.Histogram, Labels: []string{"operation"}}
		for _, key := range slices.SortedFunc(maps.Keys(e.took), func(a, b series) int { return strings.Compare(a.operation, b.operation) }) {
			if key.kind == kind.name {
				f.Samples = append(f.Samples, e.took[key].sample(key.operation))
			}
		}
		if len(f.Samples) > 0 {
			all = append(all, f)
		}
	}
	return all
}

func (b *buckets) sample(operation string) metrics.Sample {
	s := metrics.Sample{Labels: []string{operation}, Value: b.sum, Count: b.count}
	for i, limit := range limits {
		s.Buckets = append(s.Buckets, metrics.Bucket{Limit: float64(limit) / 1e9, Count: b.counts[i]})
	}
	return s
}
