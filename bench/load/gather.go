package load

import (
	"fmt"
	"time"

	"github.com/strand-net/strand/bench/result"
)

// merge adds what is in from to into.
func merge(into, from *result.Histogram) {
	if err := into.Add(from); err != nil {
		panic(err) // both are of the same kind, and nobody counts to 2^63
	}
}

func appendFaults(all, more []string) []string {
	return append(all, more[:min(len(more), maxFaults-len(all))]...)
}

func addErrors(all, more map[string]int64) map[string]int64 {
	if all == nil && len(more) > 0 {
		all = make(map[string]int64)
	}
	for kind, count := range more {
		all[kind] += count
	}
	return all
}

// add puts what s has into sum.
func (sum *segment) add(s *segment) {
	for i := range sum.kinds {
		into, from := &sum.kinds[i], &s.kinds[i]
		merge(into.response, from.response)
		if into.service != nil {
			merge(into.service, from.service)
			merge(into.lag, from.lag)
		}
		into.censored += from.censored
	}
	merge(sum.late, s.late)
	sum.operations += s.operations
	sum.messages += s.messages
	sum.bytesOut += s.bytesOut
	sum.bytesIn += s.bytesIn
	sum.arrived += s.arrived
	sum.elapsed = max(sum.elapsed, s.elapsed)
	sum.conns += s.conns
	sum.inFlight += s.inFlight
	sum.check.Add(&s.check)
	sum.errors = addErrors(sum.errors, s.errors)
	sum.faults = appendFaults(sum.faults, s.faults)
}

// gather takes a segment of one worker; the last one of an index completes it.
func (r *run) gather(s *segment) {
	all := append(r.gathered[s.index], s)
	if len(all) < len(r.workers) {
		r.gathered[s.index] = all
		return
	}
	index := s.index
	delete(r.gathered, index)
	sum := newSegment(r.kinds)
	for _, s := range all {
		sum.add(s)
		if window := r.windowOf(index); window >= 0 && window < r.opts.Windows {
			r.waited[s.worker] += s.waited
		}
		worker := r.workers[s.worker]
		s.reset()
		select {
		case worker.spare <- s:
		default: // it has enough
		}
	}
	r.second(index, sum)
}

// windowOf is the window that a segment belongs to; their number for the drain.
func (r *run) windowOf(index int) int {
	if index == len(r.timeline) {
		return r.opts.Windows
	}
	return r.timeline[index].window
}

// second counts a segment of all workers.
func (r *run) second(index int, sum *segment) {
	o := &r.opts
	window := r.windowOf(index)
	// What is wrong counts whenever it is seen.
	r.result.Errors = addErrors(r.result.Errors, sum.errors)
	r.result.Faults = appendFaults(r.result.Faults, sum.faults)
	r.result.Check.Add(&sum.check)
	begin := r.begin + int64(o.Windows)*int64(o.Window)
	if index < len(r.timeline) {
		begin = r.timeline[index].begin
	}
	seconds := float64(sum.elapsed) / 1e9
	if window >= 0 && window < o.Windows {
		w := &r.result.Windows[window]
		w.Seconds += seconds
		w.Operations += sum.operations
		w.Messages += sum.messages
		w.BytesOut += sum.bytesOut
		w.BytesIn += sum.bytesIn
		w.Errors += sum.errorCount()
	}
	interval := result.Interval{
		Begin:    float64(begin-r.begin) / 1e9,
		Seconds:  seconds,
		Target:   r.local.Rate,
		Errors:   sum.errorCount(),
		Conns:    sum.conns,
		InFlight: sum.inFlight,
	}
	interval.SetLatency(sum.all())
	if sum.elapsed > 0 {
		interval.Rate = float64(sum.operations) / seconds
	}
	if o.Shard.Of > 1 {
		interval.Latency, _ = sum.all().Compress() // it fails for none of ours
	}
	if index < len(r.timeline) {
		r.result.Intervals = append(r.result.Intervals, interval)
	}
	if o.OnInterval != nil {
		o.OnInterval(Second{
			Run: r.result, Interval: interval, Window: window, Begin: r.beginTime.Add(time.Duration(begin - r.begin)),
			Operations: sum.byName(r.kinds),
		})
	}
	if window >= 0 {
		r.total.add(sum)
		if window == o.Windows {
			r.drained = sum.arrived
		}
	}
}

// all is what operations of all kinds took.
func (s *segment) all() *result.Histogram {
	if len(s.kinds) == 1 {
		return s.kinds[0].response
	}
	sum := result.NewHistogram()
	for i := range s.kinds {
		merge(sum, s.kinds[i].response)
	}
	return sum
}

// byName is what the operations took, as it is told.
func (s *segment) byName(kinds []kind) map[string]*result.Operation {
	operations := make(map[string]*result.Operation)
	for i, kind := range kinds {
		k := &s.kinds[i]
		op := &result.Operation{Count: k.response.TotalCount(), Censored: k.censored, Response: k.response, Service: k.service, Lag: k.lag}
		if k.service == nil { // it was not planned before it began
			op.Service, op.Lag = k.response.Clone(), result.NewHistogram()
		}
		operations[kind.name] = op
	}
	return operations
}

// finish makes the result.
func (r *run) finish() (*result.Run, error) {
	o, run := &r.opts, r.result
	run.Operations = r.total.byName(r.kinds)
	if c := &run.Check; c.Datagrams && c.Checked == 0 && len(run.Faults) == 0 {
		return nil, fmt.Errorf("nothing came back from %v: %d datagrams were lost", r.remotes[0], c.Lost)
	}
	if r.total.kinds[0].response.TotalCount() == 0 {
		if len(run.Faults) > 0 {
			return nil, fmt.Errorf("nothing came back within the windows; the first fault: %s", run.Faults[0])
		}
		return nil, fmt.Errorf("nothing came back within the windows: make them longer")
	}
	g := &run.Generator
	whole := int64(o.Windows) * int64(o.Window)
	for _, waited := range r.waited {
		g.Busiest = max(g.Busiest, 1-float64(waited)/float64(whole))
	}
	run.Machine.Steal = r.steal.Share()
	run.Invalid = r.verdict()
	return run, nil
}

// verdict says by what the figures are limited that is not the server.
func (r *run) verdict() []string {
	o, g := &r.opts, &r.result.Generator
	var why []string
	if r.total.arrived > 0 {
		g.Late = r.total.late.ValueAtQuantile(99)
		if o.MaxLate > 0 && g.Late > int64(o.MaxLate) {
			why = append(why, fmt.Sprintf("generator-limited: of 100 operations one began %v or more after it could have, and %v are allowed",
				time.Duration(g.Late).Round(time.Microsecond), o.MaxLate))
		}
		g.Achieved = float64(r.total.arrived-r.drained) / float64(r.total.arrived)
		if o.MinAchieved > 0 && g.Achieved < o.MinAchieved {
			why = append(why, fmt.Sprintf("generator-limited: %.2f %% of the planned operations were begun when they were due, and %.2f %% are demanded",
				100*g.Achieved, 100*o.MinAchieved))
		}
	}
	if o.MaxBusy > 0 && g.Busiest > o.MaxBusy {
		why = append(why, fmt.Sprintf("generator-limited: a thread was busy for %.1f %% of the time, and %.1f %% are allowed",
			100*g.Busiest, 100*o.MaxBusy))
	}
	return why
}
