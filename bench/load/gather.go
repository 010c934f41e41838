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
	merge(sum.response, s.response)
	if sum.service != nil {
		merge(sum.service, s.service)
		merge(sum.lags, s.lags)
		merge(sum.late, s.late)
	}
	sum.operations += s.operations
	sum.messages += s.messages
	sum.censored += s.censored
	sum.bytesOut += s.bytesOut
	sum.bytesIn += s.bytesIn
	sum.arrived += s.arrived
	sum.elapsed = max(sum.elapsed, s.elapsed)
	sum.conns += s.conns
	sum.inFlight += s.inFlight
	sum.check.Checked += s.messages
	sum.check.Lost += s.check.Lost
	sum.check.Reordered += s.check.Reordered
	sum.check.Duplicated += s.check.Duplicated
	sum.check.Corrupt += s.check.Corrupt
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
	sum := newSegment(r.opts.open())
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
	check := &r.result.Check
	check.Checked += sum.check.Checked
	check.Lost += sum.check.Lost
	check.Reordered += sum.check.Reordered
	check.Duplicated += sum.check.Duplicated
	check.Corrupt += sum.check.Corrupt
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
		Target:   o.Rate,
		Errors:   sum.errorCount(),
		Conns:    sum.conns,
		InFlight: sum.inFlight,
	}
	interval.SetLatency(sum.response)
	if sum.elapsed > 0 {
		interval.Rate = float64(sum.operations) / seconds
	}
	if index < len(r.timeline) {
		r.result.Intervals = append(r.result.Intervals, interval)
	}
	if o.OnInterval != nil {
		o.OnInterval(Second{
			Run: r.result, Interval: interval, Window: window, Begin: r.beginTime.Add(time.Duration(begin - r.begin)),
			Operations: map[string]*result.Operation{o.Workload: sum.operation()},
		})
	}
	if window >= 0 {
		r.total.add(sum)
		if window == o.Windows {
			r.drained = sum.arrived
		}
	}
}

// operation is s as it is told.
func (s *segment) operation() *result.Operation {
	op := &result.Operation{Count: s.response.TotalCount(), Censored: s.censored, Response: s.response, Service: s.service, Lag: s.lags}
	if s.service == nil { // it was not planned before it began
		op.Service = s.response.Clone()
		op.Lag = result.NewHistogram()
	}
	return op
}

// finish makes the result.
func (r *run) finish() (*result.Run, error) {
	o, run := &r.opts, r.result
	run.Operations = map[string]*result.Operation{o.Workload: r.total.operation()}
	if run.Operations[o.Workload].Count == 0 {
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
	run.Invalid = r.verdict()
	return run, nil
}

// verdict says by what the figures are limited that is not the server.
func (r *run) verdict() []string {
	o, g := &r.opts, &r.result.Generator
	var why []string
	if o.open() {
		g.Late = r.total.late.ValueAtQuantile(99)
		if o.MaxLate > 0 && g.Late > int64(o.MaxLate) {
			why = append(why, fmt.Sprintf("generator-limited: of 100 operations one began %v or more after it could have, and %v are allowed",
				time.Duration(g.Late).Round(time.Microsecond), o.MaxLate))
		}
		g.Achieved = 1
		if r.total.arrived > 0 {
			g.Achieved = float64(r.total.arrived-r.drained) / float64(r.total.arrived)
		}
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
