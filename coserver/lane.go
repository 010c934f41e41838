package coserver

import (
	"runtime"
	"slices"
	"sync"
	"time"
)

// lane is where handlers run that have been taken over for computing, as long as they run apart: no more of them at a time than
// there are processors. More would make everybody wait longer for one, their loops above all, and be done no sooner.
//
// Nothing says that such a handler does not wait for something this time, even for another one in line. So a place is held for
// placeTime at most, and there is no way to block the lane.
type lane struct {
	mu      sync.Mutex
	held    []*place
	waiting []*place // first come, first served
}

// place is a handler's in a lane.
type place struct {
	free  chan struct{} // closed when the handler may run
	until int64         // on the loops' clock, as begun is
	begun int64
	spent spent // the processor time of the handler's thread by then
}

const (
	placeTime = 100 * time.Millisecond

	// Whether a handler computes is a guess at first: the thread that its loop was on has been busy, but perhaps with something else.
	// In the lane it turns out. Of the runs that take as long as it takes to be taken over, one that has used as much of a processor makes it
	// sure, one that has not ends it, and of one that went on on another thread nothing is known.
	perhapsComputes = 2
	surelyComputes  = 8
)

// spent is what a thread has had of a processor.
type spent struct {
	thread int
	used   int64 // nanoseconds
	known  bool
}

// enter waits for a place.
func (l *lane) enter(now func() int64) *place {
	p := &place{free: make(chan struct{})}
	l.mu.Lock()
	l.waiting = append(l.waiting, p)
	l.admit(now())
	l.mu.Unlock()
	<-p.free
	return p
}

// leave gives a place up, if it has not been lost yet.
func (l *lane) leave(p *place, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = slices.DeleteFunc(l.held, func(held *place) bool { return held == p })
	l.admit(now)
}

// expire takes the places back whose time is over. It reports whether there are any left.
func (l *lane) expire(now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = slices.DeleteFunc(l.held, func(held *place) bool { return now >= held.until })
	l.admit(now)
	return len(l.held) > 0
}

// count returns how many have a place, and how many wait for one.
func (l *lane) count() (held, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held), len(l.waiting)
}

func (l *lane) admit(now int64) {
	for len(l.waiting) > 0 && len(l.held) < runtime.GOMAXPROCS(0) {
		p := l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		p.until = now + int64(placeTime)
		l.held = append(l.held, p)
		close(p.free)
	}
}

// enterLane is called when the task, which must be the caller, goes on after a wait.
func (t *task) enterLane() {
	if t.visit != 0 || !t.isCoroutine() || t.conn == nil {
		return
	}
	extra := t.conn.extra.Load()
	if extra == nil || extra.computes.Load() <= 0 {
		return
	}
	e := t.reactor.engine
	e.monitor.rouse()
	p := e.lane.enter(t.reactor.loop.Now)
	p.begun = t.reactor.loop.Now()
	p.spent.thread, p.spent.used, p.spent.known = t.reactor.loop.CallerThread()
	extra.place = p
}

// leaveLane is called when the task, which must be the caller, is about to wait, or has ended.
func (t *task) leaveLane() {
	if t.conn == nil {
		return
	}
	extra := t.conn.extra.Load()
	if extra == nil || extra.place == nil {
		return
	}
	p, now := extra.place, t.reactor.loop.Now()
	extra.place = nil
	t.reactor.engine.lane.leave(p, now)
	if period := t.conn.run.pace.period; now-p.begun >= period {
		extra.learn(p.spent, t.reactor, period)
	}
}

// learn takes in what a long run in the lane says.
func (e *extras) learn(before spent, r *reactor, period int64) {
	thread, used, known := r.loop.CallerThread()
	switch {
	case !known || !before.known || thread != before.thread:
		e.computes.Add(-1)
	case used-before.used < period:
		e.computes.Store(0)
	default:
		e.computes.Store(surelyComputes)
	}
}
