package load

import (
	"errors"
	"slices"
	"time"

	"github.com/strand-net/strand/poller/sys"
)

// ErrStopped is the error of a run that Options.Stop has ended before anything was measured.
var ErrStopped = errors.New("stopped before anything was measured")

// soon is how long it takes at most until every worker has seen that traffic is to end, if there are processors for all of them.
const soon = checkPeriod + lead

// heed waits for a time from Options.Stop. Until traffic begins, it ends the run; then follow does what is to be done. The function that is
// returned ends it, when the run is over.
func (r *run) heed() (end func()) {
	if r.opts.Stop == nil {
		return func() {}
	}
	r.stops = make(chan time.Time, 1)
	heeded := make(chan struct{})
	go func() {
		defer close(heeded)
		select {
		case at := <-r.opts.Stop:
			select {
			case <-r.traffic:
				r.stops <- at
			default:
				r.cancel(ErrStopped)
			}
		case <-r.ctx.Done():
		}
	}()
	return func() { <-heeded }
}

// cutShort has traffic end at that time, or as soon as may be after it.
func (r *run) cutShort(at time.Time) error {
	end := r.begin + min(int64(at.Sub(r.beginTime)), r.end-r.begin) // it may be any time
	end = max(end, sys.Host.Nanotime()+int64(soon))
	firstSecond := slices.IndexFunc(r.timeline, func(c cut) bool { return c.window == 0 })
	enough, cut := r.along.cutShort(end, firstSecond+2)
	switch {
	case !enough:
		return ErrStopped
	case !cut:
		return nil // it is over by itself
	}
	r.timeline, r.spans, _ = r.along.now()
	last := r.timeline[len(r.timeline)-1]
	r.windows, r.end = last.window+1, last.end
	r.waited = r.waited[:len(r.spans)-1]
	r.result.Windows = r.result.Windows[:r.windows]
	w := &r.result.Windows[r.windows-1]
	w.Target = r.target(time.Duration(w.Begin*1e9), time.Duration(r.end-r.begin))
	r.result.Target = r.target(0, time.Duration(r.end-r.begin))
	r.result.Interrupted = true
	return nil
}
