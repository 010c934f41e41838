package coserver

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Taking a loop over costs everybody on it one or two periods of the monitor. So handlers that need it again and again run apart
// from their loops from the start: by connection, and, if it is what a server's handlers do, all of them. docs/design.md tells
// the rules, docs/adr/0008 the figures behind them.

// habits are what a connection's handler has shown of itself. Its task's own.
type habits struct {
	away uint16 // how many runs it stays apart before it tries its loop again
	heat uint8  // grows with each run that its loop was taken over for, and shrinks with each that left in time

	// probing counts the runs on the loop until one tells whether the server's handlers still block: 1 for the one that comes next or
	// goes on, 2 for a connection that begins, for it may begin with a wait for its first request.
	probing uint8
}

const (
	hotter   = 32
	hottest  = 7 * hotter
	farAfter = 8 // periods of the monitor
)

// outlasted notes a run that the loop was taken over for; by far, if it went on for long after that.
func (h *habits) outlasted(byFar bool) {
	if h.heat = min(h.heat+hotter, hottest); byFar {
		h.heat = hottest
	}
	h.away = 8 << (h.heat / hotter) // 16 to 1,024
}

func (h *habits) leftInTime() {
	if h.heat > 0 {
		h.heat--
	}
}

// settle decides for a task that is about to wait: it parks, and is its loop's again if it was apart, or it waits on the
// goroutine that it has got. The task must be the caller.
func (t *task) settle() (parks bool) {
	if !t.isCoroutine() {
		return false
	}
	onLoop := t.onLoop()
	if onLoop && t.habits == (habits{}) || t.conn == nil {
		return true
	}
	kept := int64(0)
	if !onLoop && t.visit != 0 {
		kept = t.conn.cameBack()
	}
	if !t.conn.run.pace.learns {
		return true
	}
	h, pace := &t.habits, &t.conn.run.pace
	switch {
	case t.visit == 0:
		t.leaveLane()
		h.away -= min(h.away, 1)
	case onLoop:
		h.leftInTime()
	default:
		h.outlasted(kept > farAfter*pace.period)
	}
	if h.probing > 0 {
		if h.probing--; h.probing == 0 || !onLoop {
			t.probed(onLoop)
		}
	}
	if onLoop {
		return true // the next run is apart if need be
	}
	t.visit = 0 // what there was of one has been counted
	if pace.apart.Load() {
		if pace.mayProbe(t.reactor.loop.Now()) {
			h.probing = 1
		}
		return h.probing > 0
	}
	return h.away == 0
}

// probed gives the result of a probe. The task must be the caller.
func (t *task) probed(onLoop bool) {
	t.habits.probing = 0
	pace := &t.conn.run.pace
	pace.probed(onLoop && t.reactor.loop.Now()-t.reactor.probed.Load() < pace.period/slowVisits)
}

// leaves decides for a task that is to be resumed: apart from its loop, or on it. Loop goroutine only.
func (t *task) leaves() bool {
	if t.conn == nil || !t.conn.run.pace.apart.Load() {
		return false
	}
	if t.habits.probing > 0 {
		t.reactor.probed.Store(t.reactor.loop.Now())
		return false
	}
	return true
}

// pace is what is known of how long a server's handlers keep their loops.
type pace struct {
	learns bool        // Carrier Auto: handlers may be apart
	apart  atomic.Bool // they are
	period int64       // of the monitor, in nanoseconds; a run of less than an eighth of it is what loops are for

	nextProbe atomic.Int64 // on the loops' clock

	mu      sync.Mutex
	runs    int // that have been timed, of those that count together
	slow    int // how many of them were
	score   int // of the probes; high enough, and the handlers are their loops' again
	returns int // how often they were
	told    bool
}

const (
	// A run is slow that takes an eighth of a period or more, for that long all others on the loop wait. One in a period is timed, on each
	// loop. A server is apart when slowRuns of timedRuns were slow.
	slowVisits = 8
	timedRuns  = 32
	slowRuns   = 8

	// As long as it is, ten runs a second are made on loops. Each that is brief adds one to the score, and one that is not takes
	// probeLoss away. It takes probesToReturn to end it, and each time twice as many.
	probeInterval  = 100 * time.Millisecond
	probeLoss      = 8
	probesToReturn = 16
	maxDoublings   = 6
)

// timed takes in how long a run has taken, whichever it was. Safe from any goroutine.
func (p *pace) timed(took int64, r *run) {
	if !p.learns || p.apart.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs++; took*slowVisits >= p.period {
		p.slow++
	}
	if p.runs < timedRuns && p.slow < slowRuns {
		return
	}
	slow := p.slow
	p.runs, p.slow = 0, 0
	if slow < slowRuns || p.apart.Load() {
		return
	}
	p.score = 0
	p.apart.Store(true)
	r.engine.apart.Add(1)
	if !p.told {
		p.told = true
		r.engine.goOn(r.tellApart) // a logger may block, and so may Addr; the loop must not
	}
}

func (r *run) tellApart() {
	r.server.logger().Warn("handlers keep their loops for long: they run on goroutines now", slog.String("addr", fmt.Sprint(r.server.Addr())))
}

// mayProbe reports whether it is time for a probe, and then it is the caller's.
func (p *pace) mayProbe(now int64) bool {
	next := p.nextProbe.Load()
	return now >= next && p.nextProbe.CompareAndSwap(next, now+int64(probeInterval))
}

// probed takes in the result of a probe.
func (p *pace) probed(brief bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !brief {
		p.score = max(0, p.score-probeLoss)
		return
	}
	if p.score++; p.apart.Load() && p.score >= probesToReturn<<min(p.returns, maxDoublings) {
		p.returns++
		p.apart.Store(false)
	}
}
