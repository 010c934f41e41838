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

// addCounts adds what is counted by span. A segment that is older than the end of a run that was cut short has more of them.
func addCounts(all, more []int64) []int64 {
	if missing := len(more) - len(all); missing > 0 {
		all = append(all, make([]int64, missing)...)
	}
	for i, count := range more {
		all[i] += count
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
	sum.due, sum.overdue = addCounts(sum.due, s.due), addCounts(sum.overdue, s.overdue)
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
		if window := r.windowOf(index); window >= 0 && window < r.windows {
			r.waited[r.spanOf(window)][s.worker] += s.waited
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
		return r.windows
	}
	return r.timeline[index].window
}

// spanOf is what a window is judged with. The drain belongs to the last.
func (r *run) spanOf(window int) int { return min(window, len(r.spans)-2) }

// second counts a segment of all workers.
func (r *run) second(index int, sum *segment) {
	o := &r.opts
	window := r.windowOf(index)
	// What is wrong counts whenever it is seen.
	r.result.Errors = addErrors(r.result.Errors, sum.errors)
	r.result.Faults = appendFaults(r.result.Faults, sum.faults)
	r.result.Check.Add(&sum.check)
	begin, end := r.spans[len(r.spans)-1], int64(0)
	if index < len(r.timeline) {
		begin, end = r.timeline[index].begin, r.timeline[index].end
	}
	seconds := float64(sum.elapsed) / 1e9
	if window >= 0 && window < r.windows {
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
		Errors:   sum.errorCount(),
		Conns:    sum.conns,
		InFlight: sum.inFlight,
	}
	if end > 0 {
		interval.Target = r.target(time.Duration(begin-r.begin), time.Duration(end-r.begin))
	} else if len(o.Stages) == 0 {
		interval.Target = r.local.Rate
	}
	latency := sum.all()
	interval.SetLatency(latency)
	if sum.elapsed > 0 {
		interval.Rate = float64(sum.operations) / seconds
	}
	if o.Shard.Of > 1 {
		interval.Latency, _ = latency.Compress() // it fails for none of ours
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
	if window < 0 {
		return
	}
	if span := r.spanOf(window); span != r.late.span {
		r.judgeLate()
		r.late.span = span
	}
	if last := min(window, r.windows-1); last != r.window.number {
		r.endWindow()
		r.window.number = last
	}
	merge(r.window.latency, latency)
	r.total.add(sum)
}

// endWindow tells what operations took in the window at hand.
func (r *run) endWindow() {
	w := &r.result.Windows[r.window.number]
	w.SetLatency(r.window.latency)
	if r.opts.Shard.Of > 1 {
		w.Latency, _ = r.window.latency.Compress() // it fails for none of ours
	}
	r.window.latency.Reset()
}

// judgeLate remembers the span in which the generator was latest.
func (r *run) judgeLate() {
	if p99 := r.total.late.ValueAtQuantile(99); p99 > r.late.most {
		r.late.most, r.late.worst = p99, r.late.span
	}
	r.total.late.Reset()
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
	run := r.result
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
	r.endWindow()
	r.judgeLate()
	run.Machine.Steal = r.steal.Share()
	run.Invalid = r.verdict()
	return run, nil
}

// verdict says by what the figures are limited that is not the server.
func (r *run) verdict() []string {
	o, g := &r.opts, &r.result.Generator
	var why []string
	limited := func(span int, format string, args ...any) {
		where := ""
		if len(o.Stages) > 0 {
			where = fmt.Sprintf(" in stage %d", span+1)
		}
		why = append(why, "generator-limited"+where+": "+fmt.Sprintf(format, args...))
	}
	if worst, achieved := r.leastAchieved(); worst >= 0 {
		g.Late, g.Achieved = r.late.most, achieved
		if o.MaxLate > 0 && g.Late > int64(o.MaxLate) {
			limited(r.late.worst, "of 100 operations one began %v or more after it could have, and %v are allowed", time.Duration(g.Late).Round(time.Microsecond), o.MaxLate)
		}
		if o.MinAchieved > 0 && achieved < o.MinAchieved {
			limited(worst, "%.2f %% of the planned operations were begun when they were due, and %.2f %% are demanded", 100*achieved, 100*o.MinAchieved)
		}
	}
	busiest := r.judgeBusy()
	if o.MaxBusy > 0 && g.Busiest > o.MaxBusy {
		limited(busiest, "a thread was busy for %.1f %% of the time, and %.1f %% are allowed", 100*g.Busiest, 100*o.MaxBusy)
	}
	return why
}

// leastAchieved finds the span of which the least share was taken up when it was due; -1 if nothing was planned.
func (r *run) leastAchieved() (worst int, least float64) {
	worst = -1
	for span, due := range r.total.due {
		if due == 0 {
			continue
		}
		if achieved := float64(due-r.total.overdue[span]) / float64(due); worst < 0 || achieved < least {
			worst, least = span, achieved
		}
	}
	return worst, least
}

// judgeBusy finds the span in which a thread was busiest.
func (r *run) judgeBusy() (worst int) {
	for span, threads := range r.waited {
		for _, waited := range threads {
			if busy := 1 - float64(waited)/float64(r.spans[span+1]-r.spans[span]); busy > r.result.Generator.Busiest {
				r.result.Generator.Busiest, worst = busy, span
			}
		}
	}
	return worst
}
