package control

import (
	"math"
	"runtime/debug"
	"runtime/metrics"

	"github.com/strand-net/strand/bench/result"
)

// The figures of runtime/metrics that are told.
const (
	heapObjects = "/memory/classes/heap/objects:bytes"
	stacks      = "/memory/classes/heap/stacks:bytes"
	goroutines  = "/sched/goroutines:goroutines"
	gcCycles    = "/gc/cycles/total:gc-cycles"
	gcPauses    = "/sched/pauses/total/gc:seconds"
	gcCPU       = "/cpu/classes/gc/total:cpu-seconds"
)

// Runtime is what this process can say of itself. It does not stop the world. Safe from any goroutine.
func Runtime() result.Runtime {
	samples := []metrics.Sample{{Name: heapObjects}, {Name: stacks}, {Name: goroutines}, {Name: gcCycles}, {Name: gcPauses}, {Name: gcCPU}}
	metrics.Read(samples)
	var gc debug.GCStats // has the sum of the pauses, of which the histogram knows only buckets
	debug.ReadGCStats(&gc)
	return result.Runtime{
		Heap:       int64(samples[0].Value.Uint64()),
		Stack:      int64(samples[1].Value.Uint64()),
		Goroutines: int(samples[2].Value.Uint64()),
		GCCycles:   int64(samples[3].Value.Uint64()),
		GCPauses:   gc.PauseTotal.Seconds(),
		GCMaxPause: highest(samples[4].Value.Float64Histogram()),
		GCCPU:      samples[5].Value.Float64(),
	}
}

// highest is the upper bound of the last bucket that has a value, or the lower one if there is no upper; 0 for none.
func highest(h *metrics.Float64Histogram) float64 {
	for i := len(h.Counts) - 1; i >= 0; i-- {
		if h.Counts[i] == 0 {
			continue
		}
		if upper := h.Buckets[i+1]; !math.IsInf(upper, 1) {
			return upper
		}
		return h.Buckets[i]
	}
	return 0
}
