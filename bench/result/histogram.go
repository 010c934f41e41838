package result

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// What every histogram of latencies records: from a microsecond to an hour, in nanoseconds, to three significant digits.
const (
	Lowest  = int64(time.Microsecond)
	Highest = int64(time.Hour)
	Digits  = 3
)

// Histogram is a histogram of latencies in nanoseconds. In JSON it is a summary for people and charts, and the whole of it in HdrHistogram's
// compressed form (V2), from which it is read again without loss.
type Histogram struct {
	*hdrhistogram.Histogram
	Over int64 // values above Highest, which are counted as Highest
}

// NewHistogram returns an empty one. It is not safe for several goroutines: give each its own, and add them up.
func NewHistogram() *Histogram {
	return &Histogram{Histogram: hdrhistogram.New(Lowest, Highest, Digits)}
}

// Record adds one latency in nanoseconds. One below Lowest counts as Lowest.
func (h *Histogram) Record(latency int64) {
	if latency > Highest {
		h.Over++
	}
	// The error would be for a value that is out of range, and this one is not.
	h.RecordValue(max(Lowest, min(latency, Highest)))
}

// Add adds all that other has recorded; a nil one is empty. It fails, and adds nothing, if other was not made by the same parameters, or if
// the counts of both are more than 64 bits can hold.
func (h *Histogram) Add(other *Histogram) error {
	if other.empty() {
		return nil
	}
	if a, b := parametersOf(h.Histogram), parametersOf(other.Histogram); a != b {
		return fmt.Errorf("histogram of %v does not go with one of %v", b, a)
	}
	if h.TotalCount()+other.TotalCount() < 0 {
		return fmt.Errorf("histograms of %d and %d values are too many for one", h.TotalCount(), other.TotalCount())
	}
	h.Histogram.Merge(other.Histogram) // drops nothing, as both have the same range
	h.Over += other.Over
	return nil
}

// Reset forgets all that was recorded.
func (h *Histogram) Reset() {
	h.Histogram.Reset()
	h.Over = 0
}

// Clone returns a copy that has nothing in common with h.
func (h *Histogram) Clone() *Histogram {
	return &Histogram{Histogram: h.Histogram.Clone(), Over: h.Over}
}

// empty is true also for nil, which is what a file may have for a histogram without values.
func (h *Histogram) empty() bool {
	return h == nil || h.Histogram == nil || h.TotalCount() == 0
}

// parameters are what two histograms must have in common to be added up.
type parameters struct{ lowest, highest, digits int64 }

var ours = parameters{Lowest, Highest, Digits}

func parametersOf(h *hdrhistogram.Histogram) parameters {
	return parameters{h.LowestTrackableValue(), h.HighestTrackableValue(), h.SignificantFigures()}
}

func (p parameters) String() string {
	return fmt.Sprintf("%d ns to %d ns with %d digits", p.lowest, p.highest, p.digits)
}

// Summary is what people want to know of a histogram. Latencies are in nanoseconds, and as exact as the histogram: to three digits,
// or half a microsecond.
type Summary struct {
	Count int64   `json:"count"`
	Min   int64   `json:"min_ns"`
	Mean  float64 `json:"mean_ns"`
	Max   int64   `json:"max_ns"`
	P50   int64   `json:"p50_ns"`
	P75   int64   `json:"p75_ns"`
	P90   int64   `json:"p90_ns"`
	P95   int64   `json:"p95_ns"`
	P99   int64   `json:"p99_ns"`
	P999  int64   `json:"p999_ns"`
	P9999 int64   `json:"p9999_ns"`
	Over  int64   `json:"over"`
}

// Summary sums h up. All is 0 if it is empty, or nil.
func (h *Histogram) Summary() Summary {
	if h.empty() {
		return Summary{}
	}
	return Summary{
		Count: h.TotalCount(), Min: h.Min(), Mean: h.Mean(), Max: h.Max(),
		P50: h.ValueAtQuantile(50), P75: h.ValueAtQuantile(75), P90: h.ValueAtQuantile(90), P95: h.ValueAtQuantile(95),
		P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), P9999: h.ValueAtQuantile(99.99),
		Over: h.Over,
	}
}

// Point is one point of the curve of latencies by percentile.
type Point struct {
	Percentile float64 `json:"percentile"` // 0 to 100
	Latency    int64   `json:"ns"`
}

// pointsPerHalving is how many points the curve has between a percentile and the one that half as many values are above.
const pointsPerHalving = 5

// Points is the curve of latencies by percentile, for a chart whose axis is 1/(1-percentile/100), logarithmic: from the least to the
// greatest value, at 100. It is empty for an empty histogram.
func (h *Histogram) Points() []Point {
	if h.empty() {
		return nil
	}
	var points []Point
	for _, bracket := range h.CumulativeDistributionWithTicks(pointsPerHalving) {
		points = append(points, Point{bracket.Quantile, bracket.ValueAt})
	}
	return points
}
