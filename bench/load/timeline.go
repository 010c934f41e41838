package load

import (
	"slices"
	"sync"
	"sync/atomic"
)

// cut is one end of a segment on the timeline.
type cut struct {
	begin, end int64 // kernel time, ns
	window     int   // that it belongs to; -1 for the warm-up
}

// timeline is what all workers go along, each at its own pace. It may be cut short meanwhile.
type timeline struct {
	short   atomic.Bool // it has been
	mu      sync.Mutex
	cuts    []cut
	spans   []int64 // begins of what is judged by itself, and the end
	reached int     // the segment that the foremost worker is in
}

// now is the timeline as it is.
func (l *timeline) now() (cuts []cut, spans []int64, short bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts, l.spans, l.short.Load()
}

// leave reports whether a worker may hand over its segment: not if the timeline was cut short since it has looked at it.
func (l *timeline) leave(segment int, short bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.short.Load() != short {
		return false
	}
	l.reached = max(l.reached, segment+1)
	return true
}

// cutShort has the timeline end at a time. No worker has then handed over a segment that is no part of it any more. It reports whether anything
// was cut off; nothing is if the rest would not have least segments.
func (l *timeline) cutShort(end int64, least int) (enough, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.reached
	for n < len(l.cuts) && l.cuts[n].begin < end {
		n++
	}
	if n == len(l.cuts) && l.cuts[n-1].end <= end {
		return true, false
	}
	if n < least {
		return false, false
	}
	cuts := slices.Clone(l.cuts[:n])
	if last := &cuts[n-1]; last.begin < end {
		last.end = min(last.end, end)
	}
	last := cuts[n-1]
	spans := slices.Clone(l.spans[:min(last.window+1, len(l.spans)-1)])
	l.cuts, l.spans = cuts, append(spans, last.end)
	l.short.Store(true)
	return true, true
}
