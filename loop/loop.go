package loop

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/poller"
)

const (
	// batchSize is how many events one iteration takes in hand. More makes the last of them wait longer for its turn; fewer
	// costs more waits for the same work.
	batchSize = 256

	// giveWayAfter is how many events a loop handles before it yields its processor once. While one loop finds work each time
	// that it looks, nothing makes the Go scheduler ask for the readiness of the others but its ten-millisecond
	// housekeeping; yielding wakes an idle processor, which then does. docs/adr/0004 has the figures.
	giveWayAfter = 512

	// scratchSize is the buffer that the callback API reads into: large enough that a busy bulk sender needs few reads,
	// and shared by all connections of the loop, so that none has to own one.
	scratchSize = 64 << 10
)

// Runner is work for a loop: see [Loop.Post].
type Runner interface {
	// RunOnLoop is called once, on the loop's goroutine.
	RunOnLoop()
}

// Loop is one reactor. Everything that an iteration has in hand lives here and not in local variables, so that
// another goroutine can go on with it where the first was when a callback ended that one.
type Loop struct {
	engine  *Engine
	index   int
	poller  poller.Poller
	done    chan struct{}
	sockets atomic.Int64 // attached or on their way here: what leastLoaded compares
	holds   atomic.Int64 // who needs the loop to go on

	mailbox mailbox     // work from other goroutines
	roused  atomic.Bool // somebody has woken it, and it has not noticed yet
	closing atomic.Bool
	visit   visit
	thread  atomic.Int64 // that the loop's goroutine was on when the latest turn began
	stats   stats

	// Owned by the goroutine that runs the loop.
	carrier   *carrier
	step      step
	half      *Socket // whose write side an event is still to be told of
	events    []poller.Event
	count     int // events in hand
	cursor    int // the next of them
	handled   int // events since the loop last gave way
	slots     slots
	arrived   []arrival // connections that a listener of this loop has accepted for it
	begun     int       // how many of them have been
	ready     queue     // work that the loop gave itself, for its next turn
	posted    queue     // what was in the mailbox
	flushes   flushes
	timers    timers
	lastBegin int64  // of a connection, see nextID
	killed    bool   // closing has been passed on to all sockets
	scratch   []byte // what the callback API reads into
	lend      []byte // what the callback API writes into, while nobody has it
}

// step is where in its iteration a loop is. docs/design.md describes each under the same number.
type step uint8

const (
	stepWait step = iota
	stepDispatch
	stepReady
	stepMailbox
	stepTimers
	stepFlush
)

func newLoop(e *Engine, index int, p poller.Poller) *Loop {
	return &Loop{
		engine:  e,
		index:   index,
		poller:  p,
		done:    make(chan struct{}),
		events:  make([]poller.Event, batchSize),
		scratch: make([]byte, scratchSize),
		lend:    make([]byte, 0, scratchSize),
	}
}

// Engine returns the engine that the loop belongs to.
func (l *Loop) Engine() *Engine { return l.engine }

// Index returns the loop's place in its engine, from 0.
func (l *Loop) Index() int { return l.index }

// Hold keeps the loop running, also while the engine closes, until Unhold. Safe from any goroutine that knows the loop to
// be running.
func (l *Loop) Hold() { l.holds.Add(1) }

// Unhold ends one Hold. Safe from any goroutine.
func (l *Loop) Unhold() {
	if l.holds.Add(-1) == 0 && l.closing.Load() {
		l.Post(nothing{})
	}
}

// run iterates until the engine is closed and the last socket is gone. A callback that ends its goroutine
// (runtime.Goexit, as testing's FailNow does) ends this one too: then another takes the iteration up where it was. So it does
// when this one has been deposed.
func (l *Loop) run() {
	self := new(carrier)
	l.carrier = self
	l.noteThread()
	finished := false
	defer func() {
		if !finished && !self.deposed {
			go l.run()
		}
	}()
	for !l.finished() {
		l.iterate()
	}
	finished = true
	l.poller.Close()
	close(l.done)
}

// iterate is one turn of the reactor, or what is left of it.
func (l *Loop) iterate() {
	if l.step == stepWait { // 1. Wait until there is something to do.
		l.wait()
		l.cursor, l.step = 0, stepDispatch
	}
	if l.step == stepDispatch { // 2. Tell each socket or listener that an event is about.
		l.dispatchHalf()
		for l.cursor < l.count {
			event := l.events[l.cursor]
			l.cursor++
			if w := l.slots.find(event.Token); w != nil {
				w.dispatch(event.Readiness)
				l.dispatchHalf()
			}
		}
		l.ready.begin()
		l.step = stepReady
	}
	if l.step == stepReady { // 3. Begin what has been accepted, and run what used up its share of an earlier turn.
		l.begin()
		for r := l.ready.next(); r != nil; r = l.ready.next() {
			r.RunOnLoop()
		}
		l.begin()
		l.mailbox.drain(&l.posted)
		l.posted.begin()
		l.step = stepMailbox
	}
	if l.step == stepMailbox { // 4. Run what other goroutines have posted.
		for r := l.posted.next(); r != nil; r = l.posted.next() {
			r.RunOnLoop()
		}
		if l.closing.Load() && !l.killed {
			l.killed = true
			l.slots.each(watched.kill)
		}
		l.step = stepTimers
	}
	if l.step == stepTimers { // 5. Fire the timers that are due.
		if l.timers.any() {
			now := l.Now()
			for r := l.timers.due(now); r != nil; r = l.timers.due(now) {
				r.RunOnLoop()
			}
		}
		l.step = stepFlush
	}
	// 6. Send what other goroutines have queued: many small writes to one connection become one.
	l.flushes.run()
	l.step = stepWait
}

// wait fills events. The loop counts as asleep from before it looks into the mailbox for the last time, so
// whoever posts later wakes it.
func (l *Loop) wait() {
	l.stats.note(len(l.ready.items)+len(l.arrived), l.count)
	if l.handled += l.count; l.handled >= giveWayAfter || l.engine.roused.Load() > 0 {
		l.handled = 0
		runtime.Gosched()
	}
	timeout := time.Duration(-1)
	if l.ready.any() || len(l.arrived) > 0 {
		timeout = 0
	} else if when, ok := l.timers.next(); ok {
		timeout = max(0, time.Duration(when-l.Now()))
	}
	if timeout != 0 && !l.mailbox.sleep() {
		timeout = 0
	}
	var err error
	l.count, err = l.poller.Wait(l.events, timeout)
	l.mailbox.awake()
	l.risen()
	l.noteThread()
	if err != nil {
		// The poller is ours alone and its descriptors are valid: this is not the kernel's answer to anybody's input.
		panic("loop: " + err.Error())
	}
}

// Handled says that something was worth n events: it counts as so many for the loop's giving way. Loop goroutine only.
func (l *Loop) Handled(n int) { l.handled += n }

// begin opens the connections that have been accepted.
func (l *Loop) begin() {
	for l.begun < len(l.arrived) {
		a := l.arrived[l.begun]
		l.begun++
		a.begin()
	}
	l.arrived, l.begun = l.arrived[:0], 0
}

// Post runs r on the loop's goroutine, after what was posted before it. It reports false if the loop has ended, and r will
// then not run. Safe from any goroutine; from the loop's own it defers r to the end of the current turn.
func (l *Loop) Post(r Runner) bool {
	wake, ok := l.mailbox.post(r)
	if wake {
		l.rouse()
	}
	return ok
}

// rouse ends the loop's wait. A loop that is parked gets a processor when some thread asks for readiness. While another loop finds work each
// time that it looks, there may be none that does; so each that comes to its own wait meanwhile gives way.
func (l *Loop) rouse() {
	if !l.roused.Swap(true) {
		l.engine.roused.Add(1)
	}
	// Wake fails only once the poller is closed, which is after the mailbox.
	_ = l.poller.Wake()
}

// risen ends rouse. Loop goroutine only.
func (l *Loop) risen() {
	if l.roused.Load() && l.roused.Swap(false) {
		l.engine.roused.Add(-1)
	}
}

// Requeue runs r later, when everything else that is ready has had its turn: the way to stop at the end of a fair share
// and go on afterwards. Loop goroutine only.
func (l *Loop) Requeue(r Runner) { l.ready.push(r) }

// Now is the loop's clock, in nanoseconds from an arbitrary time: monotonic, and the same for all loops of an engine. Safe
// from any goroutine.
func (l *Loop) Now() int64 { return l.engine.kernel.Nanotime() }

// TimeOf returns what Now is at t. Safe from any goroutine.
func (l *Loop) TimeOf(t time.Time) int64 { return l.engine.kernel.NanotimeAt(t) }

func (l *Loop) stop() {
	if !l.closing.Swap(true) {
		l.Post(nothing{})
	}
}

// finished reports whether the loop may end. Once it has, the mailbox takes nothing more.
func (l *Loop) finished() bool {
	return l.killed && l.step == stepWait && l.sockets.Load() == 0 && l.holds.Load() == 0 && l.mailbox.close()
}

type nothing struct{}

func (nothing) RunOnLoop() {}
