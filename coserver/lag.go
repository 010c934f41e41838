package coserver

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/loop"
)

// LagStats are how late a loop is. It is measured from outside, as a client feels it: EngineConfig.LagInterval apart, the loop is given
// something to do, and the lag is how long it takes to get to it, with the wake-up of a loop that sleeps. So it costs the loop nothing
// between two measurements, and a handler that blocks or computes shows. A loop that is on time has some tens of microseconds.
type LagStats struct {
	// Measured is how many times that was, Total the lag of all of them, and Longest the longest.
	Measured       uint64
	Total, Longest time.Duration
	// Latest is the lag at the latest measurement: the one that goes on, if the loop is already later than at the one before.
	Latest time.Duration
	// Within is how many were no longer than each of some limits, from shortest to longest.
	Within []LagBucket
}

// LagBucket is how many measurements were no longer than Limit.
type LagBucket struct {
	Limit time.Duration
	Count uint64
}

// lagLimits are those of LagStats.Within: three in each power of ten, about.
var lagLimits = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, time.Second,
}

// defaultLagInterval is how far apart the measurements are if somebody wants them and does not say.
const defaultLagInterval = 100 * time.Millisecond

// lagWatch measures how late the loops of an engine are. The zero value does not.
type lagWatch struct {
	tell   func(loop int, lag time.Duration)
	probes []lagProbe
	ran    chan *lagProbe // has room for all
	stop   chan struct{}
	ending sync.Once
	done   chan struct{}
}

// lagProbe is the measurements of one loop.
type lagProbe struct {
	watch  *lagWatch
	loop   *loop.Loop
	posted atomic.Int64 // when the one that goes on began, on the loops' clock; 0: none does
	lag    int64        // of the one that has just been made

	// The watch's goroutine writes them.
	measured               atomic.Uint64
	total, latest, longest atomic.Int64
	within                 [len(lagLimits)]atomic.Uint64 // and longer than the limit before
}

// RunOnLoop is for the loop.
func (p *lagProbe) RunOnLoop() {
	p.lag = max(1, p.loop.Now()-p.posted.Load())
	p.watch.ran <- p
}

func (w *lagWatch) start(e *Engine, interval time.Duration, tell func(int, time.Duration)) {
	if interval == 0 && tell != nil {
		interval = defaultLagInterval
	}
	if interval == 0 {
		return
	}
	w.tell, w.probes, w.ran = tell, make([]lagProbe, len(e.reactors)), make(chan *lagProbe, len(e.reactors))
	w.stop, w.done = make(chan struct{}), make(chan struct{})
	for i := range w.probes {
		w.probes[i].watch, w.probes[i].loop = w, e.reactors[i].loop
	}
	go w.run(interval)
}

// end stops the measurements and waits for that.
func (w *lagWatch) end() {
	if w.stop == nil {
		return
	}
	w.ending.Do(func() { close(w.stop) })
	<-w.done
}

func (w *lagWatch) run(interval time.Duration) {
	defer close(w.done)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-w.stop:
			return
		case p := <-w.ran:
			w.take(p)
		case <-ticker.C:
			for i := range w.probes {
				w.probes[i].begin()
			}
		}
	}
}

// begin begins a measurement, unless one goes on.
func (p *lagProbe) begin() {
	if p.posted.Load() != 0 {
		return
	}
	p.posted.Store(p.loop.Now())
	if !p.loop.Post(p) {
		p.posted.Store(0)
	}
}

func (w *lagWatch) take(p *lagProbe) {
	lag := p.lag
	p.latest.Store(lag)
	p.longest.Store(max(lag, p.longest.Load()))
	p.total.Add(lag)
	place := 0
	for place < len(lagLimits) && time.Duration(lag) > lagLimits[place] {
		place++
	}
	if place < len(lagLimits) {
		p.within[place].Add(1)
	}
	p.measured.Add(1)
	p.posted.Store(0)
	if w.tell != nil {
		w.tell(p.loop.Index(), time.Duration(lag))
	}
}

func (w *lagWatch) stats(i int) LagStats {
	if w.probes == nil {
		return LagStats{}
	}
	p := &w.probes[i]
	s := LagStats{Total: time.Duration(p.total.Load()), Longest: time.Duration(p.longest.Load()), Latest: time.Duration(p.latest.Load())}
	if posted := p.posted.Load(); posted != 0 {
		s.Latest = max(s.Latest, time.Duration(p.loop.Now()-posted))
	}
	sum := uint64(0)
	s.Within = make([]LagBucket, len(lagLimits))
	for i := range s.Within {
		sum += p.within[i].Load()
		s.Within[i] = LagBucket{lagLimits[i], sum}
	}
	s.Measured = max(sum, p.measured.Load()) // last, so that it is never less than what is within a limit
	return s
}
