package coserver_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The model holds what docs/design.md says of tasks and take-over, for every interleaving of the steps of loop/visit.go, loop/gate.go,
// task.go, takeover.go, Conn.wait, Conn.end and deadline.go. Each load, store or CAS of a shared word is one step, each post, each
// call of yield, each return of next. What the code decides by figures of time or habit, the model decides both ways.
// It takes for granted what it does not have: that a mailbox wakes its loop, the turns of a socket, and memory that is
// sequentially consistent, as sync/atomic says (go.dev/ref/mem).

// modelRules say how much happens, and what is wrong with the code.
type modelRules struct {
	events    uint8 // how often the peer sends, and what the handler waits to get
	turns     uint8 // how often the handler gives its turn up
	takeOvers uint8
	closes    bool // a handler on another loop closes the connection
	kills     bool // the engine may be closed while the handler runs
	company   bool // the loop has another task to run
	times     bool // there is a deadline, and it may come
	moves     bool // and is moved on when something has come
	sets      bool // somebody sets a deadline that is past
	apart     bool // tasks may run and wait apart
	strays    bool // and are known for it

	publishesEarly      bool
	parksItself         bool
	dropsWakeUps        bool
	forgetsWoken        bool
	buriesNoDead        bool
	leavesWithoutCAS    bool
	deposedGoesOn       bool
	marksTheLoop        bool
	visitsWithoutNumber bool
	deposesPinned       bool
	givesWayUnpinned    bool
	runningLate         bool
	opensWithoutClaim   bool
	armsLate            bool
	losesReadiness      bool
	expiresLate         bool
	looksOnce           bool
}

// The times of the model: it begins at 0, and a deadline may move on from the one to the other.
const (
	earlyDeadline = 1
	laterDeadline = 2
)

// first is the state in which the loop has accepted the connection, and is to run another task.
func (m *modelSearch) first() (s modelState) {
	s.mailbox[0] = itemTask
	if m.company {
		s.mailbox[1] = itemOther
	}
	s.routines[theTasks] = modelRoutine{at: atHome, loop: theTasks}
	if s.ended[theOther] = !m.closes; m.closes {
		s.routines[theOther] = modelRoutine{at: atHome, loop: theOther}
	}
	s.owner = [2]uint8{0, 1}
	s.held = true
	s.owed = owedStart
	s.events, s.turns = m.events, m.turns
	if m.times {
		s.deadlines, s.deadline = true, earlyDeadline
	}
	if m.sets {
		s.now = earlyDeadline
	}
	return s
}

// holds returns what is wrong in s, whatever is still to come.
func (m *modelSearch) holds(s *modelState) string {
	var carries int
	for i := range s.routines {
		r := &s.routines[i]
		home := r.at >= atHome && r.at < atVisit || r.at >= atPublish && r.at <= atExit && !r.deposed
		if home && r.loop != noLoop && s.owner[r.loop] != uint8(i) {
			return "two goroutines run a loop"
		}
		if r.at == inNext || r.at == inNextPublished {
			carries++
		}
	}
	for l, owner := range s.owner {
		r := &s.routines[owner]
		if !s.ended[l] && (r.at == noRoutine || r.loop != uint8(l) || r.deposed) {
			return "nobody runs a loop"
		}
	}
	inside := s.coroutine == coRuns || s.coroutine == coLeaves || s.coroutine == coDies
	mine := &s.routines[s.owner[theTasks]]
	switch {
	case carries > 1 || (carries == 1) != inside:
		return "a task runs that nobody carries"
	case s.visit[theTasks]&1 != 0 && mine.at != inNext:
		return "a visit is pinned that nobody pays"
	case s.handler == hChannel && mine.at == inNext:
		return "a task waits on a channel and keeps its loop"
	}
	return ""
}

// quiet returns what is wrong in s, where nothing moves unless somebody from outside does something.
func (m *modelSearch) quiet(s *modelState) string {
	waits := s.handler == hYielded || s.handler == hChannel
	switch {
	case waits && s.data > 0:
		return "the handler waits for what has come"
	case waits && s.closed:
		return "the handler waits on a connection that is closed"
	case waits && s.expired():
		return "the handler waits, and its deadline is over"
	case waits && s.deadline != 0 && (s.timer == 0 || s.timer > s.deadline):
		return "the handler waits, and nobody will tell it of its deadline"
	case !waits && s.handler != hGone:
		return "the handler does not wait, and does not go on"
	case s.owed != owedNothing:
		return "a wake-up is lost"
	case s.handler == hYielded && s.task != modelParked:
		return "the task waits and is not parked"
	}
	for l, owner := range s.owner {
		if r := &s.routines[owner]; !s.ended[l] && (r.at != atHome || s.visit[l] != 0) {
			return "a loop does not go on"
		}
	}
	if s.other != m.company || s.mailbox[0] != noItem || s.requeued != 0 {
		return "a loop does not do its work"
	}
	return ""
}

// over returns what is left in s, where nothing will ever move again.
func (m *modelSearch) over(s *modelState) string {
	switch {
	case s.handler != hGone || s.task != modelEnded || s.coroutine != coDead:
		return "the task has not ended"
	case s.ended != [2]bool{true, true}:
		return "a loop has not ended"
	case s.routines != [modelRoutines]modelRoutine{}:
		return "a goroutine is left"
	case s.gate == modelWaited || s.channel != 0:
		return "a wait is left"
	case s.strays != 0 || s.stray:
		return "a stray is left"
	}
	return ""
}

var modelScenarios = []struct {
	name  string
	rules modelRules
}{
	{"readiness and turns", modelRules{events: 2, turns: 1, takeOvers: 2, company: true}},
	{"close", modelRules{events: 1, takeOvers: 2, closes: true}},
	{"engine closed", modelRules{events: 2, turns: 1, takeOvers: 2, kills: true}},
	{"deadline", modelRules{events: 1, takeOvers: 1, times: true, kills: true}},
	{"deadline moved", modelRules{events: 2, takeOvers: 1, times: true, moves: true}},
	{"deadline and close", modelRules{events: 1, takeOvers: 1, times: true, closes: true}},
	{"deadline set", modelRules{events: 2, takeOvers: 1, sets: true}},
	{"apart", modelRules{events: 2, turns: 2, takeOvers: 2, company: true, apart: true}},
	{"apart and close", modelRules{events: 1, takeOvers: 2, closes: true, apart: true}},
	{"apart and deadline", modelRules{events: 1, takeOvers: 1, times: true, apart: true}},
	{"apart and deadline set", modelRules{events: 1, takeOvers: 1, sets: true, apart: true}},
	{"strays", modelRules{events: 2, turns: 1, takeOvers: 2, apart: true, strays: true}},
}

func TestModel(t *testing.T) {
	var reached modelPlaces
	for _, scenario := range modelScenarios {
		t.Run(scenario.name, func(t *testing.T) {
			m := &modelSearch{modelRules: scenario.rules}
			if fault := m.explore(); fault != nil {
				require.Fail(t, "a state that must not be", "%s", m.trace(fault))
			}
			t.Logf("%d states", len(m.nodes))
			reached.add(&m.reached)
		})
	}
	if !t.Failed() {
		reached.check(t)
	}
}

// modelPlaces is where anybody has ever stood: a model that does not get about proves nothing.
type modelPlaces struct {
	carrier, handler, closer, setter, monitor [64]bool
}

func (p *modelPlaces) note(s *modelState) {
	for _, r := range s.routines {
		p.carrier[r.at] = true
	}
	p.handler[s.handler], p.closer[s.closer], p.setter[s.setter], p.monitor[s.monitor] = true, true, true, true
}

func (p *modelPlaces) add(q *modelPlaces) {
	for i := range p.carrier {
		p.carrier[i] = p.carrier[i] || q.carrier[i]
		p.handler[i] = p.handler[i] || q.handler[i]
		p.closer[i] = p.closer[i] || q.closer[i]
		p.setter[i] = p.setter[i] || q.setter[i]
		p.monitor[i] = p.monitor[i] || q.monitor[i]
	}
}

// check fails the test if there is a step that nobody has come to, but those of mutations and those that some have not.
func (p *modelPlaces) check(t *testing.T) {
	missing := func(been [64]bool, first, last uint8, but ...uint8) (places []uint8) {
		for at := first; at <= last; at++ {
			if !been[at] && !slices.Contains(but, at) {
				places = append(places, at)
			}
		}
		return places
	}
	require.Empty(t, missing(p.carrier, noRoutine, atApartNext,
		atApartAdd+5, atApartAdd+6, // no task ends before it runs
		atExpiringLate, atVisitRunning, inNextPublished, atOtherRunningLate), "carrier")
	require.Empty(t, missing(p.handler, hNew, hGone, hCheckBeforeArm), "handler")
	require.Empty(t, missing(p.closer, kIdle, kDone, kWaited, kExpired, kArm, kArmPost), "closer")
	require.Empty(t, missing(p.setter, kIdle, kDone, kTimer), "setter")
	require.Empty(t, missing(p.monitor, mLook, mAdd+addSteps-1), "monitor")
}

// What is wrong with the code must show in the model: otherwise it would prove nothing.
func TestModelFindsFaults(t *testing.T) {
	for _, mutation := range []struct {
		name  string
		rules modelRules
		wrong string
	}{
		{"published before next has returned", modelRules{events: 1, takeOvers: 1, publishesEarly: true},
			"two goroutines are inside next"},
		{"parked by the task itself", modelRules{events: 1, takeOvers: 1, parksItself: true},
			"two goroutines are inside next"},
		{"wake-up while parking dropped", modelRules{events: 1, takeOvers: 1, dropsWakeUps: true},
			"the handler waits for what has come"},
		{"woken not posted again", modelRules{events: 1, takeOvers: 1, forgetsWoken: true},
			"the handler waits for what has come"},
		{"ended overwritten", modelRules{events: 1, buriesNoDead: true},
			"next is called before the task has yielded, or after its end"},
		{"leave without CAS", modelRules{events: 1, takeOvers: 1, leavesWithoutCAS: true},
			"a goroutine that has been deposed leaves its visit as if it had not"},
		{"deposed carrier goes on", modelRules{events: 1, takeOvers: 1, deposedGoesOn: true},
			"two goroutines run a loop"},
		{"the loop's carrier marked, not the visit's", modelRules{events: 1, takeOvers: 1, marksTheLoop: true},
			"a goroutine that has been deposed has its loop run on by another"},
		{"visits without number", modelRules{events: 1, takeOvers: 2, company: true, visitsWithoutNumber: true},
			"the monitor takes one task for the other"},
		{"pinned visit deposed", modelRules{events: 2, turns: 1, takeOvers: 1, deposesPinned: true},
			"a visit is deposed that is pinned"},
		{"turn given up without a pin", modelRules{events: 2, turns: 1, takeOvers: 1, givesWayUnpinned: true},
			"a handler touches a loop that is not its own any more"},
		{"running stored in the visit", modelRules{events: 1, takeOvers: 1, company: true, runningLate: true},
			"the monitor takes one task for the other"},
		{"gate opened without CAS", modelRules{events: 1, closes: true, opensWithoutClaim: true},
			"there are two wake-ups for one wait"},
		{"armed after the check of closed", modelRules{events: 1, closes: true, armsLate: true},
			"the handler waits on a connection that is closed"},
		{"readiness lost to a deadline", modelRules{events: 1, times: true, losesReadiness: true},
			"the handler waits for what has come"},
		{"timer disarmed after it has looked", modelRules{events: 2, takeOvers: 1, times: true, moves: true, expiresLate: true},
			"the handler waits, and nobody will tell it of its deadline"},
		{"stray not looked at again", modelRules{events: 1, takeOvers: 1, strays: true, looksOnce: true},
			"a stray is left"},
	} {
		t.Run(mutation.name, func(t *testing.T) {
			m := &modelSearch{modelRules: mutation.rules}
			fault := m.explore()
			require.NotNil(t, fault, "nothing found in %d states", len(m.nodes))
			t.Logf("%d states\n%s", len(m.nodes), m.trace(fault))
			require.Equal(t, mutation.wrong, fault.wrong)
		})
	}
}
