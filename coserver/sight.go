package coserver

import "time"

// sight is what a look of the monitor has seen of a loop.
type sight struct {
	visit    uint64
	again    int   // how many looks before had seen the same visit
	forgiven int   // how many more had, but the loop's thread was starved
	thread   int   // the loop's, and the processor time that it had used
	used     int64 // in nanoseconds
	known    bool
}

// mostForgiven is how many looks at one visit may be put down to a lack of processors: some hundredths of a second. Kernels do
// not keep a thread waiting for longer; and where they did, or tell nonsense, a handler that blocks is still taken over.
const mostForgiven = 32

// starved reports whether the thread of a loop had a processor for less than half of the time since the last look. If it is
// runnable besides, then it is not the handler that takes so long: the machine has given the processor to others, and another
// goroutine would not get one sooner.
func (s sight) starved(last sight, elapsed time.Duration) bool {
	return s.known && last.known && s.thread == last.thread && s.used-last.used < int64(elapsed)/2
}
