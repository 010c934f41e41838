package coserver

import (
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/strand-net/strand/loop"
)

// task is a handler in progress. This file alone knows how one is parked and resumed.
//
// A task that a loop carries is a coroutine: the loop's goroutine runs it, inside next, until it parks. One that nothing
// carries is a goroutine and waits on channels; it has no state here but that.
//
//	          resume
//	parked ───────────▶ running ──────▶ ended
//	▲    ▲               │   │   the handler returns
//	│    │  next returns │   │ wake
//	│    └───────────────┘   ▼
//	└─────────────────────  woken
//	next returns: post again
//
// The task itself is between running and parked ("parking") from its call of yield until next has returned in its
// carrier. Nobody may resume it then, and only the carrier knows when that time is over; so only the carrier sets
// parked. A wake-up that comes earlier is kept as woken: it comes from a loop that has been taken over meanwhile.
//
// A coroutine may also be apart from its loop: because that has been taken over, or because it was resumed on a goroutine of
// the pool. When it is about to wait, settle decides whether it parks, and is its loop's again, or waits on a channel, on
// the goroutine that it has got. Its carrier stays inside next meanwhile, and so the state running.
type task struct {
	reactor *reactor
	conn    *Conn // whose handler it is, or nil
	next    func() (struct{}, bool)
	yield   func(struct{}) bool // nil: it is a goroutine
	g       atomic.Uintptr      // the goroutine that the handler runs on, 0 when it has ended
	visit   uint64              // the latest that its loop has paid it, 0 if it is apart; its carrier's and its own
	state   atomic.Uint32
	habits  habits
}

const (
	taskParked uint32 = iota
	taskRunning
	taskWoken
	taskEnded
	taskGoroutine // nothing carries it
)

// reactor is what coserver keeps for each loop.
type reactor struct {
	engine *Engine
	loop   *loop.Loop
	// running is the task that the loop resumed last. It may have parked since; whether it runs shows in its g.
	running atomic.Pointer[task]
	probed  atomic.Int64 // when the latest probe began, on the loop's clock
	sample  atomic.Bool  // the next run is to be timed
	sender  *sender
	_       [23]byte // loops do not share cache lines
}

// body is what a task does: the life of a connection, or something beside it.
type body interface {
	serve()

	// coroutine is task.run for iter.Pull: a method, so that it costs one small allocation.
	coroutine(yield func(struct{}) bool)
}

// startInline begins the task as a coroutine on the goroutine of its loop, which it must be called on, and returns when it parks
// or ends.
func (t *task) startInline(b body) {
	t.next, _ = iter.Pull(b.coroutine)
	t.resume()
}

func (c *Conn) coroutine(yield func(struct{}) bool)  { c.task.run(yield, c) }
func (c *child) coroutine(yield func(struct{}) bool) { c.task.run(yield, c) }

// run runs the task on the calling goroutine, which is its own from now on.
func (t *task) run(yield func(struct{}) bool, b body) {
	defer t.end()
	t.yield = yield
	t.g.Store(getg())
	b.serve()
}

func (t *task) end() {
	if t.habits.probing > 0 { // a handler that served one request and returned
		t.probed(t.onLoop())
	}
	t.leaveLane()
	g := t.g.Swap(0)
	t.state.Store(taskEnded)
	strays.forget(t, g)
	t.reactor.loop.Unhold()
}

// isCaller reports whether the calling goroutine is the task's own.
func (t *task) isCaller() bool { return canInline && t.g.Load() == getg() }

// isCoroutine reports whether a loop may carry the task. The task must be the caller.
func (t *task) isCoroutine() bool { return t.yield != nil }

// resume runs the task until it parks or ends. On the goroutine of its loop only.
func (t *task) resume() {
	for !t.state.CompareAndSwap(taskParked, taskRunning) {
		if t.state.CompareAndSwap(taskRunning, taskWoken) {
			return // its carrier will see to it
		}
	}
	r := t.reactor
	if t.leaves() && r.engine.spawn(t.runApart) == nil {
		return
	}
	r.running.Store(t)
	visit := r.loop.Enter()
	t.visit = visit.Number
	r.engine.monitor.wake()
	var begun int64
	if r.sample.Load() {
		r.sample.Store(false)
		begun = r.loop.Now()
	}
	// What comes out of next may be a Goexit of the handler, which ends the carrier's goroutine too; the loop then
	// goes on with another.
	defer t.returned(visit, begun)
	t.next()
}

// returned is the carrier's part in parking. If the loop has been taken over meanwhile, that is all that is left for it to do. begun is
// when the run began, or 0 if it is not timed.
func (t *task) returned(visit loop.Visit, begun int64) {
	if begun != 0 && t.conn != nil {
		t.conn.run.pace.timed(t.reactor.loop.Now()-begun, t.conn.run)
	}
	deposed := !t.reactor.loop.Leave(visit)
	t.published()
	if deposed {
		runtime.Goexit()
	}
}

// published makes a task whose next has returned known as parked.
func (t *task) published() {
	if !t.state.CompareAndSwap(taskRunning, taskParked) && t.state.Load() != taskEnded {
		t.state.Store(taskParked)
		t.reactor.loop.Post(t)
	}
}

// runApart is resume on a goroutine that is no loop's.
func (t *task) runApart() {
	t.visit = 0
	strays.add(t)
	defer t.published()
	t.next()
}

// RunOnLoop resumes a task that was woken from elsewhere.
func (t *task) RunOnLoop() { t.resume() }

// onLoop reports whether the task keeps its loop from other work. Only a negative answer is reliable. The task must be the caller.
func (t *task) onLoop() bool { return t.reactor.loop.Visited(t.visit) }

// giveWay lets everything else that is ready on the loop run first, if the loop is the task's. The task must be the caller.
func (t *task) giveWay() {
	l := t.reactor.loop
	if !l.Pin(t.visit) {
		return
	}
	l.Requeue(t)
	l.Unpin(t.visit)
	t.yield(struct{}{})
}

// waiter is one call that waits, on whatever carries it.
type waiter struct {
	task *task         // an inline task, parked; or nil:
	ch   chan struct{} // a goroutine
}

// prepare makes w a waiter for the calling goroutine: t if it is a task, nil if it is none.
func (w *waiter) prepare(t *task) {
	if t != nil && t.settle() {
		w.task = t
		return
	}
	w.task = nil
	if w.ch == nil {
		w.ch = make(chan struct{}, 1)
	}
}

// wait returns after one wake.
func (w *waiter) wait() {
	if w.task != nil {
		w.task.yield(struct{}{})
		return
	}
	<-w.ch
}

// wake ends a wait, or the next one if it has not begun; the caller of wait must not wait for anything else before. It is
// called once for each wait. on is the loop whose goroutine the caller is, or nil.
func (w *waiter) wake(on *loop.Loop) {
	switch {
	case w.task == nil:
		w.ch <- struct{}{}
	case w.task.reactor.loop == on:
		w.task.resume()
	default:
		w.task.reactor.loop.Post(w.task)
	}
}

// wakeLater is wake for who has more to do on the loop whose goroutine it is: a task of the same loop is resumed when what is ready has its turn.
func (w *waiter) wakeLater(on *loop.Loop) {
	if w.task != nil && w.task.reactor.loop == on {
		on.Requeue(w.task)
	} else {
		w.wake(nil)
	}
}

// prepared returns a waiter for the calling goroutine.
func prepared() *waiter {
	w := new(waiter)
	w.prepare(currentTask())
	return w
}

// notice is what one caller waits for and another announces, in whichever order. (A waiter alone will not do where the caller
// may wait for something else first: waking a task resumes it whatever it waits for.)
type notice struct {
	mu     sync.Mutex
	given  bool
	waiter *waiter
}

func (n *notice) give() {
	n.mu.Lock()
	n.given = true
	waiter := n.waiter
	n.waiter = nil
	n.mu.Unlock()
	if waiter != nil {
		waiter.wake(nil)
	}
}

func (n *notice) wait() {
	n.mu.Lock()
	if n.given {
		n.mu.Unlock()
		return
	}
	waiter := prepared()
	n.waiter = waiter
	n.mu.Unlock()
	waiter.wait()
}

// beside runs do as a task of its own beside that of the caller: inline on the same loop if the caller is inline, on a
// goroutine if not.
func beside(t *task, do func()) {
	if t == nil {
		go do()
		return
	}
	c := &child{task: task{reactor: t.reactor}, do: do}
	t.reactor.loop.Hold() // until the task ends
	if !t.reactor.loop.Post(c) {
		t.reactor.loop.Unhold()
		go do()
	}
}

// child is a task beside that of a connection, and on its way to its beginning.
type child struct {
	task task
	do   func()
}

func (c *child) serve() { c.do() }

func (c *child) RunOnLoop() { c.task.startInline(c) }
