package result

import (
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

// NewHistogram returns an empty one. It is not safe for several goroutines: give each its own, and merge.
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
