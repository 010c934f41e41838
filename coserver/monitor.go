package coserver

import (
	"sync"
	"sync/atomic"
	"time"
)

// monitor watches an engine's loops. One that has been visiting the same handler from one look to the next is taken over: the
// handler blocks, or computes, and goes on by itself; everybody else on the loop goes on without it.
//
// It looks once in a period while handlers run, and sleeps when they do not.
type monitor struct {
	period time.Duration // 0: nobody is taken over
	engine *Engine
	asleep atomic.Bool
	kick   chan struct{}
	stop   chan struct{}
	ending sync.Once
	done   chan struct{}
}

// idleLooks is how many times in a row the monitor finds nothing before it sleeps.
const idleLooks = 20

func (m *monitor) start(e *Engine, period time.Duration) {
	m.engine, m.period = e, period
	m.kick, m.stop, m.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	if period == 0 || !canInline {
		close(m.done)
		return
	}
	go m.run()
}

// end stops the monitor and waits for it.
func (m *monitor) end() {
	m.ending.Do(func() { close(m.stop) })
	<-m.done
}

// wake is called by a loop that has begun a visit.
func (m *monitor) wake() {
	if m.asleep.Load() && m.asleep.CompareAndSwap(true, false) {
		m.kick <- struct{}{}
	}
}

func (m *monitor) run() {
	defer close(m.done)
	seen := make([]uint64, len(m.engine.reactors))
	ticker := time.NewTicker(m.period)
	defer ticker.Stop()
	for idle := 0; ; {
		select {
		case <-m.stop:
			return
		case <-ticker.C:
		}
		if m.look(seen) {
			idle = 0
			continue
		}
		if idle++; idle < idleLooks {
			continue
		}
		idle = 0
		ticker.Stop()
		if !m.sleep() {
			return
		}
		ticker.Reset(m.period)
	}
}

// look takes over the loops that visit what they visited at the last look. It reports whether any visits anything.
func (m *monitor) look(seen []uint64) (busy bool) {
	for i := range seen {
		r := &m.engine.reactors[i]
		visit := r.loop.Visiting()
		if visit != 0 && visit == seen[i] {
			m.engine.takeOver(r, visit)
		}
		busy = busy || visit != 0
		seen[i] = visit
	}
	return busy
}

// sleep returns when a visit has begun, or with false when the engine closes.
func (m *monitor) sleep() bool {
	m.asleep.Store(true)
	for i := range m.engine.reactors {
		if m.engine.reactors[i].loop.Visiting() != 0 && m.asleep.CompareAndSwap(true, false) {
			return true
		}
	}
	select {
	case <-m.kick:
		return true
	case <-m.stop:
		return false
	}
}
