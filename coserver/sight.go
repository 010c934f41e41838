package coserver

// sight is what a look of the monitor has seen of a loop.
type sight struct {
	visit    uint64
	again    int   // how many looks before had seen the same visit
	forgiven int   // how many more had, but the loop's thread was without a processor
	thread   int   // the loop's, and the processor time that it had used
	used     int64 // in nanoseconds
	known    bool
}

// mostForgiven is how many looks at one visit may be put down to a lack of processors. Kernels seldom keep a thread waiting for longer;
// and where they do, or where the loop's goroutine is not on that thread any more, a handler that blocks is still taken over.
const mostForgiven = 16

// usedSince is the processor time that the loop's thread has used since an earlier look, if that is known.
func (s sight) usedSince(last sight) (known bool, nanoseconds int64) {
	return s.known && last.known && s.thread == last.thread, s.used - last.used
}
