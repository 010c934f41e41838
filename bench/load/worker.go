package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// worker drives a part of the connections from one goroutine, with a poller of its own, so that measuring costs as little as a
// single-threaded C program does. It meets the rest of the run only when it has been connected, and once for each segment.
type worker struct {
	opts     *Options
	remotes  []net.Addr
	sources  []netip.Addr
	security *tls.Config // or nil
	total    int         // connections of the run
	work     work
	open     bool
	ctx      context.Context

	kernel  sys.Kernel
	poller  poller.Poller
	alarm   alarm
	events  []poller.Event
	conns   []conn
	plans   []*plan // of what does not begin when something else ends
	payload payload
	random  *rand.Rand
	size    int    // of every message; 0 if they differ
	in, out []byte // what arrives, and what is being sent

	now           int64 // kernel time at the begin of this iteration, ns
	checked       int64 // when all connections were last looked at
	alarmAt       int64 // when the alarm rings
	inFlight      int   // operations begun and not ended
	queued        int   // operations planned, and waiting for room on their connection
	openConns     int
	draining      bool    // nothing is begun any more, but for what was planned before
	unfinished    int     // connections that are open until the server has said its last
	again, again2 []*conn // that go on when others have had their turn; and the memory of those before
	kinds         []kind
	leaving       []*conn // whose visit has ended
	finishing     bool    // nothing more will be sent to sinks
	untold        bool    // which are not told so, and do not answer: whoever began the run speaks with their server
	silent        bool    // it sends no more
	broadcast     *broadcast
	datagrams     *datagrams // or nil
	spans         []int64    // of the run
	cookie        []byte     // of iperf3

	number   int
	seg      *segment
	spare    chan *segment   // that can be used again
	segments chan<- *segment // to whoever gathers them

	connecting connecting
}

const (
	bufferSize  = 64 << 10
	sinkBuffer  = 256 << 10 // what large messages to a sink are sent with
	alarmToken  = poller.Reserved - 1
	checkPeriod = 20 * time.Millisecond

	// spin is how near what is to be done next must be for the worker not to sleep: to be woken takes longer.
	spin = 10 * time.Microsecond
	// instant is how long a wait takes that finds something at once: it was none.
	instant = 2 * time.Microsecond
)

func newWorker(ctx context.Context, o *Options) (*worker, error) {
	w := &worker{
		opts:   o,
		work:   workOf(o.Workload),
		open:   o.open() && o.Workload != WorkloadPush,
		ctx:    ctx,
		kernel: sys.Host,
		events: make([]poller.Event, 256),
		in:     make([]byte, bufferSize),
		out:    make([]byte, bufferSize),
		spare:  make(chan *segment, 2),
	}
	w.kinds = o.kinds()
	w.datagrams = newDatagrams(o)
	switch {
	case o.Protocol == ProtocolIperf3:
		w.untold = true
	case o.Protocol != "":
		w.work = workProtocol
	}
	if w.work == workSink {
		w.out = make([]byte, max(bufferSize, min(o.Size.largest(), sinkBuffer)))
	}
	if size, fixed := o.Size.fixed(); fixed {
		w.size = size
	}
	w.payload = payload{framing: o.Framing, pattern: newPattern(o.Size.largest(), o.Framing == FramingLine), zero: machineClock() - w.kernel.Nanotime()}
	var err error
	if w.poller, err = poller.New(w.kernel); err != nil {
		return nil, err
	}
	if w.alarm, err = newAlarm(w.poller, w.kernel); err != nil {
		w.poller.Close()
		return nil, err
	}
	return w, nil
}

func (w *worker) close() {
	w.alarm.close()
	w.poller.Close()
	if w.datagrams != nil && w.datagrams.shared != nil {
		w.datagrams.shared.close()
	}
	for i := range w.conns {
		w.closeSocket(&w.conns[i])
	}
}

// tokenOf is what the poller knows connection c by.
func (w *worker) tokenOf(c *conn) poller.Token { return poller.Token(c.id - w.conns[0].id) }

// ofNoConn takes note of an event that is of no connection alone, and reports whether it is one.
func (w *worker) ofNoConn(token poller.Token) bool {
	switch token {
	case alarmToken:
		w.alarmAt = 0
	case sharedToken:
		w.datagrams.more = true
	default:
		return false
	}
	return true
}

// wait waits for events, or until something is due.
func (w *worker) wait(due int64) (int, error) {
	if err := w.datagrams.flush(); err != nil {
		return 0, err
	}
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

// traffic runs the plans along the timeline, from its begin to its last cut, and then waits for what is in flight.
func (w *worker) traffic(along *timeline, from int64) error {
	t := &traffic{along: along, from: from}
	w.lookAhead(t)
	t.begin = t.timeline[0].begin
	for _, p := range w.plans {
		p.start(t.begin)
	}
	w.enter(t)
	w.seg.elapsed, w.checked = t.begin, t.begin
	w.now = w.kernel.Nanotime()
	for {
		n, err := w.wait(w.due(t))
		if err != nil {
			return err
		}
		if err := w.cutUp(t); err != nil {
			return err
		}
		for _, event := range w.events[:n] {
			if w.ofNoConn(event.Token) {
				continue
			}
			if err := w.dispatch(&w.conns[event.Token], event.Readiness); err != nil {
				return err
			}
		}
		if w.datagrams != nil {
			if err := w.pullMore(); err != nil {
				return err
			}
			if err := w.pushUnsent(); err != nil {
				return err
			}
		}
		if err := w.proceed(t); err != nil {
			return err
		}
		if w.datagrams != nil && n < len(w.events) && !w.datagrams.more {
			if err := w.giveUp(); err != nil {
				return err
			}
		}
		if w.draining && (w.idle(t.end) || w.now >= t.deadline) {
			if err := w.censor(t.end); err != nil {
				return err
			}
			w.handOver(t)
			return nil
		}
	}
}

// traffic is how far a worker has come.
type traffic struct {
	along                *timeline
	timeline             []cut // as it was when it was last looked at
	short                bool  // it was cut short before that
	at                   int   // the cut that ends this segment
	from                 int64
	begin, end, deadline int64
	started              bool
}

// due is when something must be done whatever comes.
func (w *worker) due(t *traffic) int64 {
	if len(w.again) > 0 || w.datagrams != nil && w.datagrams.more {
		return w.now
	}
	due := min(w.checked+int64(checkPeriod), t.deadline)
	if t.at < len(t.timeline) {
		due = min(due, t.timeline[t.at].end)
	}
	if !t.started {
		return min(due, t.begin)
	}
	for _, p := range w.plans {
		if p.at < t.end {
			due = min(due, p.at)
		}
	}
	if w.datagrams != nil && len(w.datagrams.due) > 0 {
		due = min(due, w.datagrams.due[0].at)
	}
	return due
}

// lookAhead finds when traffic is to end.
func (w *worker) lookAhead(t *traffic) {
	t.timeline, w.spans, t.short = t.along.now()
	t.end = t.timeline[len(t.timeline)-1].end
	t.deadline = t.end + int64(w.opts.Drain)
}

// cutUp hands over the segments that have ended.
func (w *worker) cutUp(t *traffic) error {
	if t.along.short.Load() != t.short {
		w.lookAhead(t)
	}
	for t.at < len(t.timeline) && w.now >= t.timeline[t.at].end {
		if !t.along.leave(t.at, t.short) {
			w.lookAhead(t)
			continue
		}
		t.at++
		w.handOver(t)
	}
	if w.draining || t.at < len(t.timeline) {
		return nil
	}
	w.draining = true
	return w.beginDrain()
}

// proceed does what no event asks for.
func (w *worker) proceed(t *traffic) error {
	if !t.started {
		if w.now < t.begin {
			return nil
		}
		t.started = true
		if err := w.start(); err != nil {
			return err
		}
	}
	if err := w.sendMore(); err != nil {
		return err
	}
	if err := w.nextVisits(); err != nil {
		return err
	}
	limit := min(t.end, w.kernel.Nanotime()+1)
	if t.at < len(t.timeline) {
		limit = min(limit, t.timeline[t.at].end) // what is planned for the next segment belongs there
	}
	for _, p := range w.plans {
		if err := w.follow(p, limit); err != nil {
			return err
		}
	}
	if w.draining && w.work == workSink && !w.untold && !w.finishing && w.planned(t.end) == 0 {
		w.finishing = true
		for i := range w.conns {
			if err := w.shutdown(&w.conns[i]); err != nil {
				return err
			}
		}
	}
	if w.now-w.checked < int64(checkPeriod) {
		return nil
	}
	w.checked = w.now
	return w.look()
}

// sendMore goes on with connections that had to give way to others.
func (w *worker) sendMore() error {
	if len(w.again) == 0 {
		return nil
	}
	batch := w.again
	w.again = w.again2[:0]
	w.again2 = batch
	for _, c := range batch {
		c.again = false
		if c.state != stateOpen {
			continue
		}
		var err error
		if c.unread {
			c.unread = false
			ready := poller.Readable
			if c.ended {
				ready |= poller.ReadClosed
			}
			err = w.dispatch(c, ready)
		}
		if err == nil && c.state == stateOpen {
			err = w.push(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// start begins what does not wait for a plan.
func (w *worker) start() error {
	for i := range w.conns {
		c := &w.conns[i]
		if c.state != stateOpen {
			continue
		}
		if c.role != roleSlow { // what came before is found now: it was an event of connecting
			if err := w.dispatch(c, poller.Readable); err != nil {
				return err
			}
			if c.state != stateOpen {
				continue
			}
		}
		var err error
		switch {
		case c.role == roleSlow:
			err = w.pushSlow(c)
		case w.work == workPush:
			err = w.order(c)
		case w.open || c.role != roleActive:
		case w.work == workChurn:
			err = w.visit(c, w.kernel.Nanotime())
		default:
			now := w.kernel.Nanotime()
			for range w.opts.Depth {
				w.begin(c, now, now)
			}
			err = w.push(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// idle reports whether everything that was planned before end has ended.
func (w *worker) idle(end int64) bool {
	if w.inFlight+w.queued+w.unfinished > 0 {
		return false
	}
	return w.planned(end) == 0 && (w.work != workBroadcast || w.delivered())
}

// planned is how many plans have something to be begun before end.
func (w *worker) planned(end int64) (n int) {
	for _, p := range w.plans {
		if p.at < end {
			n++
		}
	}
	return n
}

// planBatch is how much of a plan is taken up at a time: whoever is behind it must still see what comes back.
const planBatch = 1024

// follow takes up what was planned before limit.
func (w *worker) follow(p *plan, limit int64) error {
	for range planBatch {
		if p.at >= limit {
			return nil
		}
		w.seg.arrive(w.kernel.Nanotime(), p.at, w.spans)
		if err := w.arrive(&w.conns[p.first+p.conn], p.at); err != nil {
			return err
		}
		p.advance()
	}
	return nil
}

// handOver gives away the segment that has ended, and begins the next.
func (w *worker) handOver(t *traffic) {
	s := w.seg
	s.worker, s.index = w.number, t.at-1
	if w.draining {
		s.index = len(t.timeline)
	}
	s.elapsed = w.now - s.elapsed
	s.conns, s.inFlight = w.openConns, w.inFlight+w.queued
	select {
	case w.seg = <-w.spare:
	default:
		w.seg = newSegment(w.kinds)
	}
	w.seg.elapsed = w.now
	w.enter(t)
	w.segments <- s
	runtime.Gosched() // a phase may begin now
}

// enter says to the segment that begins where it is.
func (w *worker) enter(t *traffic) {
	switch {
	case t.at == len(t.timeline):
		w.seg.span = len(w.spans) - 1
	case t.timeline[t.at].window < 0:
		return
	default:
		w.seg.span = min(t.timeline[t.at].window, len(w.spans)-2)
	}
	w.seg.from = t.from
}

// censor counts what has had no answer when the drain is over, and what has not even been taken up.
func (w *worker) censor(end int64) error {
	for _, p := range w.plans {
		for ; p.at < end; p.advance() {
			w.seg.arrive(w.now, p.at, w.spans)
			w.censorStart(p.kind, p.at)
		}
	}
	for i := range w.conns {
		c := &w.conns[i]
		if w.work == workChurn && (c.state == stateConnecting || c.state == stateSecuring) {
			w.seg.censor(kindMain, w.now, c.more.planned, c.more.began)
		}
		if c.peer != nil {
			w.censorDatagrams(c)
		}
		for ; c.head != c.tail; c.head++ {
			if m := c.slot(c.head); m.last {
				w.seg.censor(m.kind, w.now, m.planned, m.begun)
			}
		}
		for c.waiting.len() > 0 {
			w.censorStart(c.kind(), c.waiting.pop())
		}
		var err error
		switch {
		case c.suspect != nil:
			err = w.accuse(c)
		case c.more != nil:
			err = w.settle(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// censorStart counts an operation that has not begun.
func (w *worker) censorStart(kind uint8, planned int64) {
	if planned < w.seg.from {
		return
	}
	k := &w.seg.kinds[kind]
	k.response.Record(w.now - planned)
	k.lag.Record(w.now - planned)
	k.censored++
}

// look looks for an end from outside and for connections on which nothing has come back for too long.
func (w *worker) look() error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if w.opts.Slow > 0 || w.work == workChurn {
		if err := w.lookAround(); err != nil {
			return err
		}
	}
	if w.opts.Stall == 0 || w.datagrams != nil {
		return nil
	}
	for i := range w.conns {
		c := &w.conns[i]
		if c.state != stateOpen || c.head == c.tail || w.now-c.heard <= int64(w.opts.Stall) {
			continue
		}
		err := fmt.Errorf("stalled: nothing came back for %v, %d of %d bytes of a message before that", w.opts.Stall, c.headAt, c.slot(c.head).size)
		if err := w.fail(c, kindStalled, err); err != nil {
			return err
		}
	}
	return nil
}
