package coserver

import (
	"sync"
	"sync/atomic"
	"time"
)

// monitor watches an engine's loops. One that has been visiting the same handler from one look to the next is taken over: the
// handler blocks, or computes, and goes on by itself; everybody else on the loop goes on without it. It also sends what a handler
// that is apart from its loop has gathered, if the handler itself does not come to it.
//
// It looks once in a period while there is something to see, less often while there is not, and then sleeps.
type monitor struct {
	engine *Engine
	period time.Duration
	never  bool // nobody is taken over
	asleep atomic.Bool
	// resting says that the next look is further away than a period. Who sets it looks at gathered afterwards, and who
	// gathers looks at it: one of them sees the other.
	resting atomic.Bool
	kick    chan struct{}
	stop    chan struct{}
	ending  sync.Once
	done    chan struct{}

	latest time.Time
	sights []sight // by loop

	mu       sync.Mutex
	gathered []*Conn // by handlers that are apart, since the last look
	spare    []*Conn // room for the next; the monitor's own
}

const (
	// defaultTakeOverAfter is the monitor's period if nobody says otherwise.
	defaultTakeOverAfter = time.Millisecond

	// longestRest is how many periods pass at most between two looks while they find nothing. A server that has something to do now and
	// then, and is quick about it, would otherwise pay more for the looks than for what it does: on an idle processor a goroutine
	// that a timer wakes costs far more than what it does.
	longestRest = 8

	// keptGathered is for how many connections there stays room: a burst must not hold its memory for ever.
	keptGathered = 1024

	// idleLooks is how many times in a row the monitor finds nothing before it sleeps. To be woken costs as much as two looks.
	idleLooks = 16
)

func (m *monitor) start(e *Engine, period time.Duration) {
	m.engine, m.period = e, period
	if m.never = period < 0 || !canInline; period <= 0 {
		m.period = defaultTakeOverAfter
	}
	m.sights = make([]sight, len(e.reactors))
	m.kick, m.stop, m.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	m.asleep.Store(true)
	go m.run()
}

// end stops the monitor and waits for it.
func (m *monitor) end() {
	m.ending.Do(func() { close(m.stop) })
	<-m.done
}

// wake is called by a loop that has begun a visit.
func (m *monitor) wake() {
	if !m.never {
		m.rouse()
	}
}

func (m *monitor) rouse() {
	if m.asleep.Load() && m.asleep.CompareAndSwap(true, false) {
		m.hurry()
	}
}

// hurry ends a sleep, and has the next look come within a period.
func (m *monitor) hurry() {
	select {
	case m.kick <- struct{}{}:
	default: // somebody has said so already
	}
}

// watch makes sure that what c has gathered is sent soon. Its handler must be the caller, and apart from its loop.
func (m *monitor) watch(c *Conn) {
	m.mu.Lock()
	m.gathered = append(m.gathered, c)
	m.mu.Unlock()
	if m.rouse(); m.resting.Load() {
		m.hurry()
	}
}

func (m *monitor) run() {
	defer close(m.done)
	for m.sleep() {
		if !m.stayAwake() {
			return
		}
	}
}

// stayAwake looks until there has been nothing to see for a while, and returns false when the engine closes.
func (m *monitor) stayAwake() bool {
	timer := time.NewTimer(m.period)
	defer timer.Stop()
	m.latest = time.Now()
	clear(m.sights)
	for idle := 0; idle < idleLooks; {
		select {
		case <-m.stop:
			return false
		case <-m.kick:
			m.resting.Store(false)
			timer.Reset(m.period)
			continue
		case <-timer.C:
			m.resting.Store(false)
		}
		idle++
		if m.look(time.Now()) {
			idle = 0
		}
		timer.Reset(m.untilNext(idle))
	}
	m.resting.Store(false)
	return true
}

// untilNext is how long the monitor waits after so many looks that found nothing.
func (m *monitor) untilNext(idle int) time.Duration {
	periods := min(1<<(idle/2), longestRest)
	if periods > 1 {
		m.resting.Store(true)
		if m.hasGathered() { // by who did not see it yet
			m.resting.Store(false)
			periods = 1
		}
	}
	return time.Duration(periods) * m.period
}

// look reports whether there was anything to see.
func (m *monitor) look(now time.Time) (busy bool) {
	elapsed := now.Sub(m.latest)
	m.latest = now
	for i := range m.sights {
		r, last := &m.engine.reactors[i], m.sights[i]
		next := sight{visit: r.loop.Visiting()}
		busy = busy || next.visit != 0
		r.sample.Store(true)
		if !m.never && next.visit != 0 {
			next.thread, next.used, next.known = r.loop.Thread()
			if last.visit != 0 {
				m.compare(r, last, &next, elapsed)
			}
		}
		m.sights[i] = next
	}
	busy = m.engine.lane.expire(m.engine.loops.Loop(0).Now()) || busy
	return m.sendGathered() || busy
}

// compare draws the conclusions from two looks at r that both found it visiting.
func (m *monitor) compare(r *reactor, last sight, next *sight, elapsed time.Duration) {
	if int64(next.visit-last.visit)*int64(m.period) > slowVisits*int64(elapsed) {
		return
	}
	same := next.visit == last.visit
	if same {
		next.again, next.forgiven = last.again, last.forgiven
	}
	known, used := next.usedSince(last)
	enough := used >= int64(elapsed)/2
	if known && !enough && next.forgiven < mostForgiven && r.loop.Runnable(next.thread) {
		// It is not the handler that takes so long: the machine has given the processor to others, and another goroutine would
		// not get one sooner.
		next.forgiven++
		return
	}
	if same {
		next.again++
	}
	// When a look comes late, whatever made the monitor wait may have made the handler wait too; then it takes a third. But if the
	// loop has been computing meanwhile, for few, it may well be that nobody else got a processor for it. The one that it is
	// visiting now has taken most of that time, or most likely so.
	computes, late := known && enough, elapsed >= 2*m.period
	if same && (!late || next.again > 1) || late && computes {
		m.engine.takeOver(r, next.visit, computes)
	}
}

// sendGathered sends what the handlers have gathered that are apart. It reports whether there was any.
func (m *monitor) sendGathered() bool {
	m.mu.Lock()
	conns := m.gathered
	m.gathered, m.spare = m.spare, nil
	m.mu.Unlock()
	for _, c := range conns {
		c.output.watched.Store(false)
		c.sendFor()
	}
	if clear(conns); cap(conns) <= keptGathered {
		m.spare = conns[:0]
	}
	return len(conns) > 0
}

// sleep returns when there is something to look at, or with false when the engine closes.
func (m *monitor) sleep() bool {
	m.asleep.Store(true)
	if m.mayMiss() && m.asleep.CompareAndSwap(true, false) {
		return true
	}
	select {
	case <-m.kick:
		m.asleep.Store(false)
		return true
	case <-m.stop:
		return false
	}
}

// mayMiss reports whether something has come up that did not find the monitor asleep.
func (m *monitor) mayMiss() bool {
	for i := range m.engine.reactors {
		if m.engine.reactors[i].loop.Visiting() != 0 {
			return !m.never
		}
	}
	return m.hasGathered()
}

func (m *monitor) hasGathered() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.gathered) > 0
}
