package coserver

import (
	"bytes"
	"sync"

	"github.com/strand-net/strand/loop"
)

// outbox is the queue of a connection: what Enqueue has taken and the kernel has not. It is one more writer, which has the turn
// of the write side or stands in line for it, with a place for each stretch of messages that no other writer has come between. It
// is there only while it has something to do.
//
// Protected by the mu of its Conn, but for what the loop's goroutine has alone. No system call is made with mu held.
type outbox struct {
	conn     *Conn
	messages []queued // from head on
	head     int
	size     int // bytes, as MaxQueued counts them
	begun    int // bytes of the first message that are with the kernel, or encrypted

	holds   bool // it has the turn of the write side, for the first mine messages; the others have places in line
	mine    int
	places  int
	sending int // messages, from head on, that a system call has in hand

	due     bool // its loop will come to it
	armed   bool // it waits for room; whoever ends the wait says so
	late    bool // the deadline was over when it got the turn
	ending  bool // the connection is about to be closed
	closing bool // it is closed, and the queue has the descriptor for itself
	cut     bool // it is not to send any more
	lost    bool // something was dropped because of that
	departs bool // the connection's handler has returned: it goes when the queue does

	// Loop goroutine only.
	timer    loop.Timer
	fires    int64 // when timer does, or 0: it is not set
	until    int64 // how long a connection that is closed waits; 0: that has not begun
	notified bool  // the end of TLS is on its way
}

// queued is one message. It must not be changed.
type queued struct {
	data  []byte
	stake *stake // nil: it is the queue's own
}

// outboxes are lent to connections that have something queued.
var outboxes = sync.Pool{New: func() any { return new(outbox) }}

// keptMessages is how many messages' room a queue keeps that is given back.
const keptMessages = 64

// queueState is what stays of the queue of a connection while that has nothing to do.
type queueState struct {
	outbox   *outbox // nil: nothing is queued
	unsent   error   // why what was queued could not be sent
	pressure pressure

	refused, dropped, lost uint64 // messages, as in ConnStats and Ending
}

// openOutbox returns the queue of c, made if need be. The caller must have mu, and sees to it that it retires if it has nothing to do.
func (c *Conn) openOutbox() *outbox {
	x := c.extra.Load()
	if x.queue == nil {
		x.queue = new(queueState)
	}
	q := x.queue
	if q.outbox == nil {
		q.outbox = outboxes.Get().(*outbox)
		q.outbox.conn = c
	}
	return q.outbox
}

// state returns what stays of the queue.
func (o *outbox) state() *queueState { return o.conn.extra.Load().queue }

// queueFigures are how the queue of a connection is.
type queueFigures struct {
	size                   int
	refused, dropped, lost uint64
}

func (c *Conn) queueStats() (f queueFigures) {
	x := c.extra.Load()
	if x == nil {
		return f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := x.queue; q != nil {
		f.refused, f.dropped, f.lost = q.refused, q.dropped, q.lost
		if q.outbox != nil {
			f.size = q.outbox.size
		}
	}
	return f
}

// queue returns the queue of c, or nil if it has nothing to do. The caller must have mu.
func (c *Conn) queue() *outbox {
	if x := c.extra.Load(); x != nil && x.queue != nil {
		return x.queue.outbox
	}
	return nil
}

// queueHolds reports whether the queue has the turn of the write side.
func (c *Conn) queueHolds() bool {
	if c.extra.Load() == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.queue()
	return o != nil && o.holds
}

func (c *Conn) reactor() *reactor { return &c.run.engine.reactors[c.sock.Loop().Index()] }

// retire takes the queue off its connection if it has nothing left to do, and reports whether it did; then gone follows, without
// mu.
func (o *outbox) retire() bool {
	if o.holds || o.places > 0 || o.count() > 0 {
		return false
	}
	o.state().outbox = nil
	return true
}

// gone is what comes after retire.
func (o *outbox) gone() {
	c, departs := o.conn, o.departs
	messages := o.messages[:0]
	if cap(messages) > keptMessages {
		messages = nil
	}
	*o = outbox{messages: messages}
	outboxes.Put(o)
	if departs {
		c.departed()
	}
}

// count returns how many messages there are.
func (o *outbox) count() int { return len(o.messages) - o.head }

// add takes m, or if that is nil a copy of p, at the end, if there is room for it or the policy makes some.
func (o *outbox) add(p []byte, m *Message) lack {
	r := o.conn.run
	cost := len(p) + queuedCost
	if cost > r.queues.max {
		return lacksAll
	}
	for {
		what := o.lacks(cost)
		if what == nothing {
			if message, ok := r.charge(p, m); ok {
				o.push(message)
				return nothing
			}
			what = lacksTotal
		}
		if r.queues.policy != DropOldest || !o.dropOldest() {
			return what
		}
		r.server.counters.queues.dropped.Add(1)
		o.state().dropped++
	}
}

// lacks says what keeps a message out that counts cost. No queue may grow longer than what is then left for all: so there is room for
// the others, however many peers are slow.
func (o *outbox) lacks(cost int) lack {
	r := o.conn.run
	switch size := o.size + cost; {
	case size > r.queues.max:
		return lacksRoom
	case int64(size) > r.memory.free()-int64(cost):
		return lacksTotal
	}
	return nothing
}

// charge makes a message of m, or of a copy of p, and counts it.
func (r *run) charge(p []byte, m *Message) (queued, bool) {
	if m == nil {
		if !r.memory.take(int64(len(p) + queuedCost)) {
			return queued{}, false
		}
		return queued{data: bytes.Clone(p)}, true
	}
	if !r.memory.take(queuedCost) {
		return queued{}, false
	}
	s := m.stakeIn(r)
	if !s.take() {
		r.memory.give(queuedCost)
		return queued{}, false
	}
	return queued{data: m.data, stake: s}, true
}

// discharge ends charge.
func (r *run) discharge(m queued) {
	if m.stake == nil {
		r.memory.give(int64(len(m.data) + queuedCost))
		return
	}
	m.stake.give()
	r.memory.give(queuedCost)
}

func (o *outbox) push(m queued) {
	if o.head > 0 && len(o.messages) == cap(o.messages) && o.head >= len(o.messages)/2 {
		n := copy(o.messages, o.messages[o.head:])
		clear(o.messages[n:])
		o.messages, o.head = o.messages[:n], 0
	}
	o.messages = append(o.messages, m)
	o.size += len(m.data) + queuedCost
}

// pop takes the first message out.
func (o *outbox) pop() {
	m := o.messages[o.head]
	o.messages[o.head] = queued{}
	if o.head++; o.head == len(o.messages) {
		o.messages, o.head = o.messages[:0], 0
	}
	o.size -= len(m.data) + queuedCost
	o.conn.run.discharge(m)
}

// kept is how many messages must stay, for something of them is on its way.
func (o *outbox) kept() int {
	if o.begun > 0 {
		return max(o.sending, 1)
	}
	return o.sending
}

// dropOldest drops the oldest message that may be, and reports whether there was one.
func (o *outbox) dropOldest() bool {
	kept := o.kept()
	if kept == o.count() {
		return false
	}
	if o.mine > kept {
		o.mine--
	} else {
		o.firstPlace().messages--
	}
	dropped := o.messages[o.head+kept]
	copy(o.messages[o.head+1:], o.messages[o.head:o.head+kept])
	o.messages[o.head] = dropped
	o.pop()
	return true
}

// dropRest drops all messages that may be, and returns how many.
func (o *outbox) dropRest() (dropped int) {
	kept := o.kept()
	for o.count() > kept {
		last := len(o.messages) - 1
		m := o.messages[last]
		o.messages[last] = queued{}
		o.messages = o.messages[:last]
		o.size -= len(m.data) + queuedCost
		o.conn.run.discharge(m)
		dropped++
	}
	if o.count() == 0 {
		o.messages, o.head = o.messages[:0], 0
	}
	o.mine = min(o.mine, kept)
	for _, p := range o.conn.line() {
		if p.queue {
			p.messages = 0
		}
	}
	o.conn.run.server.counters.queues.lost.Add(uint64(dropped))
	o.state().lost += uint64(dropped)
	return dropped
}

// stand makes sure that messages that have just been added, and what TLS has to say, will have their turn: it is the queue's already,
// or the queue gets a place in line behind everybody else. It reports whether the turn has become the queue's by that.
func (o *outbox) stand(messages int) bool {
	c := o.conn
	line := c.line()
	last := -1
	for i, p := range line {
		if p.side == loop.WriteSide {
			last = i
		}
	}
	switch {
	case last >= 0 && line[last].queue:
		line[last].messages += messages
		return false
	case last < 0 && o.holds:
		o.mine += messages // whoever sends looks before it gives the turn back
		return false
	}
	// It is not closed: who closes a connection sets closed before, and takes mu in between.
	if c.sock.AcquireOrQueue(loop.WriteSide) == loop.TurnTaken {
		o.holds, o.mine = true, messages
		return true
	}
	c.joinLine(&linePlace{side: loop.WriteSide, queue: true, messages: messages})
	o.places++
	return false
}

// schedule reports whether the caller must give the queue to its loop's sender, without mu: it has the turn, and is not there yet.
func (o *outbox) schedule() bool {
	if !o.holds || o.due {
		return false
	}
	o.due = true
	return true
}

// firstPlace returns the first place in line that there are messages for.
func (o *outbox) firstPlace() *linePlace {
	for _, p := range o.conn.line() {
		if p.queue && p.messages > 0 {
			return p
		}
	}
	return nil
}

// takeTurn is when the queue comes first in line.
func (o *outbox) takeTurn(p *linePlace) {
	o.places--
	o.holds = true
	o.mine = p.messages
	o.late = o.conn.expired(loop.WriteSide) != nil
}

// endQueue is for a connection that is about to be closed in order: whoever is enqueuing something has done so, and nobody will any
// more. It reports whether there is a queue, which then waits for closeQueue.
func (c *Conn) endQueue() bool {
	if c.extra.Load() == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.queue()
	if o != nil {
		o.ending = true
	}
	return o != nil
}

// closeQueue is for a connection that is closed: its queue keeps the descriptor until it has sent what it has, or, if it is cut, drops
// it. It reports whether there is a queue.
func (c *Conn) closeQueue(cut bool) bool {
	if c.extra.Load() == nil {
		return false // and whoever enqueues something sees that it is closed
	}
	c.mu.Lock()
	o := c.queue()
	if o == nil {
		c.mu.Unlock()
		return false
	}
	o.closing = true
	if cut {
		o.cut = true
		o.lost = o.dropRest() > 0 || o.lost
		c.crossed(o.size)
	}
	due := o.schedule()
	c.mu.Unlock()
	if due {
		c.reactor().sender.add(c)
	}
	return true
}

// pokeQueue has the queue send what TLS has to say of its own accord, when it has the turn: whoever reads does not wait for those who
// write.
func (c *Conn) pokeQueue() {
	c.extras()
	c.mu.Lock()
	if c.unwritable() != nil {
		c.mu.Unlock()
		return
	}
	o := c.openOutbox()
	due := o.stand(0) && o.schedule()
	c.mu.Unlock()
	if due {
		c.reactor().sender.add(c)
	}
}
