package watch

import (
	"slices"

	"github.com/strand-net/strand/bench/result"
)

// Outcome is what a watcher has seen.
type Outcome struct {
	Server  *result.Server
	Samples []result.Sample // all of them, in order
	Bounds  []result.Sample // at Begin, each Boundary and End
	Profile []byte          // CPU profile in the format of pprof; nil if none was asked for, or came
}

// outcome puts together what has been seen. w.mu is held.
func (w *Watcher) outcome() *Outcome {
	o := &Outcome{Server: &result.Server{Name: w.options.Name, PID: w.options.PID}, Profile: w.profiled}
	for _, l := range w.looks {
		s := l.at(w.begun)
		o.Samples = append(o.Samples, s)
		o.Server.MaxRSS = max(o.Server.MaxRSS, s.RSS)
		for _, m := range l.marks {
			switch m {
			case Before:
				o.Server.Before = s
			case Idle:
				o.Server.Idle = s
			case Begin:
				o.Server.Begin = s
			case End:
				o.Server.End = s
			}
			if m >= Begin {
				o.Bounds = append(o.Bounds, s)
			}
		}
	}
	return o
}

// Fill writes the outcome into a run: its server, the processor time of each of its windows, if they follow one another with a mark between
// them, and to each interval the sample that is the nearest to its end, if one was taken within it or as long after it.
func (o *Outcome) Fill(run *result.Run) {
	run.Server = o.Server
	if len(o.Bounds) == len(run.Windows)+1 {
		for i := range run.Windows {
			run.Windows[i].CPUUser = o.Bounds[i+1].CPUUser - o.Bounds[i].CPUUser
			run.Windows[i].CPUSystem = o.Bounds[i+1].CPUSystem - o.Bounds[i].CPUSystem
		}
	}
	for i := range run.Intervals {
		interval := &run.Intervals[i]
		end := interval.Begin + interval.Seconds
		if s := o.nearest(end); s != nil && s.At >= interval.Begin && s.At <= end+interval.Seconds {
			interval.Server = s
		}
	}
}

// nearest is a copy of the sample that was taken the nearest to at; nil if there is none.
func (o *Outcome) nearest(at float64) *result.Sample {
	i, _ := slices.BinarySearchFunc(o.Samples, at, func(s result.Sample, at float64) int {
		if s.At < at {
			return -1
		}
		return 1
	})
	if i == len(o.Samples) || i > 0 && at-o.Samples[i-1].At <= o.Samples[i].At-at {
		i--
	}
	if i < 0 {
		return nil
	}
	s := o.Samples[i]
	return &s
}
