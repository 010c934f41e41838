package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// worker drives a part of the connections from one goroutine, with a poller of its own, so that measuring costs as little as a
// single-threaded C program does. It meets the rest of the run only when it has been connected, and once for each segment.
type worker struct {
	opts   *Options
	remote net.Addr
	total  int // connections of the run
	open   bool
	ctx    context.Context

	kernel  sys.Kernel
	poller  poller.Poller
	alarm   alarm
	events  []poller.Event
	conns   []conn
	plan    *plan // nil in a closed loop
	payload payload
	random  *rand.Rand
	size    int    // of every message; 0 if they differ
	in, out []byte // what arrives, and what is being sent

	now       int64 // kernel time at the begin of this iteration, ns
	checked   int64 // when all connections were last looked at
	alarmAt   int64 // when the alarm rings
	inFlight  int   // operations begun and not ended
	queued    int   // operations planned, and waiting for room on their connection
	openConns int
	draining  bool // nothing is begun any more, but for what was planned before

	number   int
	seg      *segment
	spare    chan *segment   // that can be used again
	segments chan<- *segment // to whoever gathers them

	connecting connecting
}

// cut is one end of a segment on the timeline.
type cut struct {
	begin, end int64 // kernel time, ns
	window     int   // that it belongs to; -1 for the warm-up
}

const (
	bufferSize  = 64 << 10
	alarmToken  = poller.Reserved - 1
	checkPeriod = 20 * time.Millisecond

	// spin is how near what is to be done next must be for the worker not to sleep: to be woken takes longer.
	spin = 10 * time.Microsecond
	// instant is how long a wait takes that finds something at once: it was none.
	instant = 2 * time.Microsecond
)

func newWorker(ctx context.Context, o *Options, remote net.Addr, total int) (*worker, error) {
	w := &worker{
		opts:   o,
		remote: remote,
		total:  total,
		open:   o.open(),
		ctx:    ctx,
		kernel: sys.Host,
		events: make([]poller.Event, 256),
		in:     make([]byte, bufferSize),
		out:    make([]byte, bufferSize),
		spare:  make(chan *segment, 2),
	}
	w.size, _ = fixedSize(o.Size)
	w.payload = payload{framing: o.Framing, pattern: newPattern(o.Size.largest(), o.Framing == FramingLine), zero: machineClock() - w.kernel.Nanotime()}
	var err error
	if w.poller, err = poller.New(w.kernel); err != nil {
		return nil, err
	}
	if w.alarm, err = newAlarm(w.poller, w.payload.zero); err != nil {
		w.poller.Close()
		return nil, err
	}
	return w, nil
}

func fixedSize(s Sizes) (int, bool) {
	if size, fixed := s.fixed(); fixed {
		return size, true
	}
	return 0, false
}

func (w *worker) close() {
	w.alarm.close()
	w.poller.Close()
	for i := range w.conns {
		if w.conns[i].fd >= 0 {
			w.kernel.Close(w.conns[i].fd)
		}
	}
}

// wait waits for events, or until something is due.
func (w *worker) wait(due int64) (int, error) {
	before := w.kernel.Nanotime()
	timeout := time.Duration(-1)
	switch left := due - before; {
	case left <= int64(spin):
		timeout = 0
	case w.alarmAt <= before || w.alarmAt > due:
		if !w.alarm.set(due) {
			timeout = time.Duration(left)
			break
		}
		w.alarmAt = due
	}
	n, err := w.poller.Wait(w.events, timeout)
	w.now = w.kernel.Nanotime()
	if waited := w.now - before; n == 0 || waited > int64(instant) {
		w.seg.waited += waited
	}
	return n, err
}

// traffic runs the plan along the timeline, from its begin to its last cut, and then waits for what is in flight.
func (w *worker) traffic(timeline []cut, from int64) error {
	begin := timeline[0].begin
	if w.plan != nil {
		w.plan.start(begin)
	}
	w.seg.from = 0
	if timeline[0].window >= 0 {
		w.seg.from = from
	}
	w.seg.elapsed, w.checked = begin, begin
	w.now = w.kernel.Nanotime()
	at := 0
	end := timeline[len(timeline)-1].end
	deadline := end + int64(w.opts.Drain)
	started := false
	for {
		due := min(w.checked+int64(checkPeriod), deadline)
		if at < len(timeline) {
			due = min(due, timeline[at].end)
		}
		if !started {
			due = min(due, begin)
		} else if w.plan != nil && w.plan.at < end {
			due = min(due, w.plan.at)
		}
		n, err := w.wait(due)
		if err != nil {
			return err
		}
		for at < len(timeline) && w.now >= timeline[at].end {
			at++
			w.handOver(at, from, timeline)
		}
		w.draining = at == len(timeline)
		for _, event := range w.events[:n] {
			if event.Token == alarmToken {
				w.alarmAt = 0
				continue
			}
			if err := w.dispatch(&w.conns[event.Token], event.Readiness); err != nil {
				return err
			}
		}
		if !started && w.now >= begin {
			started = true
			if err := w.startClosed(); err != nil {
				return err
			}
		}
		if started && w.plan != nil {
			if err := w.followPlan(min(end, w.kernel.Nanotime()+1)); err != nil {
				return err
			}
		}
		if w.draining && (w.idle(end) || w.now >= deadline) {
			if err := w.censor(end); err != nil {
				return err
			}
			w.handOver(at, from, timeline)
			return nil
		}
		if w.now-w.checked >= int64(checkPeriod) {
			w.checked = w.now
			if err := w.look(); err != nil {
				return err
			}
		}
	}
}

// startClosed begins as many operations on each connection as may be in flight, unless there is a plan.
func (w *worker) startClosed() error {
	if w.open {
		return nil
	}
	for i := range w.conns {
		c := &w.conns[i]
		if c.state != stateOpen {
			continue
		}
		now := w.kernel.Nanotime()
		for range w.opts.Depth {
			w.begin(c, now, now)
		}
		if err := w.push(c); err != nil {
			return err
		}
	}
	return nil
}

// idle reports whether everything that was planned before end has ended.
func (w *worker) idle(end int64) bool {
	return w.inFlight+w.queued == 0 && (w.plan == nil || w.plan.at >= end)
}

// planBatch is how much of the plan is taken up at a time: whoever is behind it must still see what comes back.
const planBatch = 1024

// followPlan takes up what was planned before limit.
func (w *worker) followPlan(limit int64) error {
	for range planBatch {
		if w.plan.at >= limit {
			return nil
		}
		w.seg.arrive(w.kernel.Nanotime(), w.plan.at)
		if err := w.arrive(&w.conns[w.plan.conn], w.plan.at); err != nil {
			return err
		}
		w.plan.advance()
	}
	return nil
}

// handOver gives away the segment that ended with the cut before at, and begins the next.
func (w *worker) handOver(at int, from int64, timeline []cut) {
	s := w.seg
	s.worker, s.index = w.number, at-1
	if w.draining {
		s.index = len(timeline)
	}
	s.elapsed = w.now - s.elapsed
	s.conns, s.inFlight = w.openConns, w.inFlight+w.queued
	select {
	case w.seg = <-w.spare:
	default:
		w.seg = newSegment(w.open)
	}
	w.seg.elapsed = w.now
	if at == len(timeline) || timeline[at].window >= 0 {
		w.seg.from = from
	}
	w.segments <- s
	runtime.Gosched() // a phase may begin now
}

// censor counts what has had no answer when the drain is over, and what has not even been taken up.
func (w *worker) censor(end int64) error {
	for ; w.plan != nil && w.plan.at < end; w.plan.advance() {
		w.seg.arrive(w.now, w.plan.at)
		w.censorStart(w.plan.at)
	}
	for i := range w.conns {
		c := &w.conns[i]
		if c.suspect != nil {
			if err := w.accuse(c); err != nil {
				return err
			}
		}
		for ; c.head != c.tail; c.head++ {
			if m := &c.ring[c.head&uint32(len(c.ring)-1)]; m.last {
				w.seg.done(w.now, m.planned, m.begun)
				if m.planned >= w.seg.from {
					w.seg.censored++
				}
			}
		}
		for c.waiting.len() > 0 {
			w.censorStart(c.waiting.pop())
		}
	}
	return nil
}

// censorStart counts an operation that has not begun.
func (w *worker) censorStart(planned int64) {
	if planned < w.seg.from {
		return
	}
	w.seg.response.Record(w.now - planned)
	w.seg.lags.Record(w.now - planned)
	w.seg.censored++
}

// look looks for an end from outside and for connections on which nothing has come back for too long.
func (w *worker) look() error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if w.opts.Stall == 0 {
		return nil
	}
	for i := range w.conns {
		c := &w.conns[i]
		if c.state != stateOpen || c.head == c.tail || w.now-c.heard <= int64(w.opts.Stall) {
			continue
		}
		m := &c.ring[c.head&uint32(len(c.ring)-1)]
		err := fmt.Errorf("stalled: nothing came back for %v, %d of %d bytes of a message before that", w.opts.Stall, c.headAt, m.size)
		if err := w.fail(c, kindStalled, err); err != nil {
			return err
		}
	}
	return nil
}
