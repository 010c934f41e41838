package coserver

import (
	"net"
	"os"
	"sync"

	"github.com/strand-net/strand/loop"
)

const (
	// queueLinger is how long, in nanoseconds, a closed connection goes on sending what is queued.
	queueLinger = 5e9

	// One turn of a sender is so many connections, and no more once it has moved so many bytes.
	senderConns  = 64
	senderBudget = 1 << 20
)

// queueWaits is in the place of the task that waits for room, if it is the queue that does.
var queueWaits = new(task)

// sender sends what the queues of one loop's connections have.
type sender struct {
	loop *loop.Loop

	mu     sync.Mutex
	due    []*Conn
	posted bool

	// Loop goroutine only.
	taken []*Conn
	next  int // of taken
	batch [writevBatch][]byte
}

// add has the loop come to the queue of c. Safe from any goroutine while the queue has the turn: then the loop does not end.
func (s *sender) add(c *Conn) {
	s.mu.Lock()
	s.due = append(s.due, c)
	post := !s.posted
	s.posted = true
	s.mu.Unlock()
	if post {
		s.loop.Post(s)
	}
}

// RunOnLoop is one turn.
func (s *sender) RunOnLoop() {
	if s.next == len(s.taken) {
		clear(s.taken)
		s.mu.Lock()
		s.taken, s.due = s.due, s.taken[:0]
		s.mu.Unlock()
		s.next = 0
	}
	conns := 0
	for sent := 0; s.next < len(s.taken) && conns < senderConns && sent < senderBudget; conns++ {
		c := s.taken[s.next]
		s.taken[s.next] = nil
		s.next++
		sent += c.sendDue()
	}
	s.loop.Handled(conns) // each is as much work as an event is
	s.mu.Lock()
	more := s.next < len(s.taken) || len(s.due) > 0
	s.posted = more
	s.mu.Unlock()
	if more {
		s.loop.Requeue(s)
	}
}

// sendDue sends what is queued, if it is still due. It returns how many bytes it has sent. Loop goroutine only.
func (c *Conn) sendDue() int {
	c.mu.Lock()
	o := c.queue()
	due := o != nil && o.due
	if due {
		o.due = false
	}
	c.mu.Unlock()
	if !due {
		return 0
	}
	return o.send()
}

// queueReady ends a wait of the queue for room. It is called once for each wait. Loop goroutine only if on is the loop.
func (c *Conn) queueReady(on *loop.Loop) {
	c.mu.Lock()
	o := c.queue()
	o.armed = false
	due := on == nil && o.schedule()
	c.mu.Unlock()
	switch {
	case on != nil:
		o.send()
	case due:
		c.reactor().sender.add(c)
	}
}

// send sends what may go out now, as far as there is room and the share of one connection goes, and returns how many bytes. Loop
// goroutine only.
func (o *outbox) send() (sent int) {
	c := o.conn
	c.mu.Lock()
	if !o.holds || !o.disarm() {
		c.mu.Unlock()
		return 0
	}
	late := o.late
	o.late = false
	if late && o.leaves() {
		o.endTurn()
		return 0
	}
	late = late && o.count() > 0
	c.mu.Unlock()
	woken := c.woken[loop.WriteSide] != byReadiness
	c.woken[loop.WriteSide] = byReadiness
	switch {
	case late:
		c.cutLate(os.ErrDeadlineExceeded)
	case woken && c.run.timed:
		if err := c.limitOver(loop.WriteSide); err != nil {
			c.cutLate(err)
		}
	}
	for sent < turnBudget {
		batch, ok := o.next()
		if !ok {
			return sent
		}
		n, err := o.transmit(batch)
		clear(batch)
		o.took(n)
		sent += n
		switch {
		case err == nil:
		case err != loop.ErrNotReady:
			o.fail(err)
			return sent
		case o.wait():
			return sent
		}
	}
	c.mu.Lock()
	due := o.schedule()
	c.mu.Unlock()
	if due {
		c.reactor().sender.add(c)
	}
	return sent
}

// disarm ends the queue's own wait for room. It reports false if somebody else has, and is about to say so. The caller must have mu.
func (o *outbox) disarm() bool {
	if o.armed && !o.conn.sock.Disarm(loop.WriteSide) {
		return false
	}
	o.armed = false
	return true
}

// next returns what is to be sent next; nothing, but true, if TLS alone has something to say. If there is nothing more, it gives the
// turn back, and returns false.
func (o *outbox) next() (batch [][]byte, ok bool) {
	c := o.conn
	out, secure := &c.output, c.secure
	for {
		c.mu.Lock()
		switch {
		case out.err != nil, o.closing && o.cut:
			c.mu.Unlock()
			o.fail(net.ErrClosed)
			return nil, false
		case out.size > 0 || o.mine > 0 || secure != nil && secure.wire.unsent():
			batch = o.batch()
			c.mu.Unlock()
			return batch, true
		case o.places > 0 || !o.closing && !o.ending:
			o.endTurn()
			return nil, false
		case !o.closing:
			c.mu.Unlock()
			return nil, false // until closeQueue
		case secure == nil || o.notified:
			c.mu.Unlock()
			c.sock.LingerOn()
			c.mu.Lock()
			o.endTurn()
			return nil, false
		}
		c.mu.Unlock()
		o.notified = true
		_ = secure.conn.Close() // which leaves the end of TLS to be sent
	}
}

// batch returns what the handler has gathered, which is older, and then of the queue's messages as many as one call takes. The
// caller must have mu.
func (o *outbox) batch() [][]byte {
	c := o.conn
	batch := c.reactor().sender.batch[:0]
	if size := c.output.size; size > 0 {
		batch = append(batch, c.output.buffer[:size])
	}
	left := c.run.queues.max // what may be in hand; none of it can be dropped
	if c.run.queues.policy == DropOldest {
		left /= 2
	}
	begun := o.begun
	for o.sending = 0; o.sending < o.mine && len(batch) < cap(batch) && left > 0; o.sending++ {
		data := o.messages[o.head+o.sending].data
		batch = append(batch, data[begun:])
		begun = 0
		left -= len(data) + queuedCost
	}
	return batch
}

// transmit sends of batch as much as there is room for, without waiting, and returns how many bytes it has taken.
func (o *outbox) transmit(batch [][]byte) (n int, err error) {
	c := o.conn
	switch {
	case c.secure != nil:
		return c.secure.sendNow(batch)
	case len(batch) == 1:
		n, err = c.sock.Send(batch[0])
	default:
		n, err = c.sock.Sendv(batch)
	}
	if c.run.timed {
		c.countSent(n)
	}
	return n, err
}

// took notes that n bytes of a batch have been taken.
func (o *outbox) took(n int) {
	c := o.conn
	if out := &c.output; out.size > 0 {
		part := min(n, int(out.size))
		n -= part
		if out.size = int32(copy(out.buffer[:], out.buffer[part:out.size])); out.size == 0 {
			out.reset()
			c.phases[loop.WriteSide] = phaseNone // the next message has the whole of WriteTimeout
		}
	}
	c.mu.Lock()
	o.sending = 0
	for n > 0 {
		rest := len(o.messages[o.head].data) - o.begun
		if n < rest {
			o.begun += n
			break
		}
		n -= rest
		o.begun = 0
		o.mine--
		o.pop()
		c.phases[loop.WriteSide] = phaseNone
	}
	c.crossed(o.size)
	c.mu.Unlock()
}

// wait waits for room. It reports false if there is no need to.
func (o *outbox) wait() bool {
	c := o.conn
	c.waiting[loop.WriteSide].task = queueWaits
	c.mu.Lock()
	o.armed = true // before anybody can say that it is not
	if !c.sock.Arm(loop.WriteSide) {
		o.armed = false
		c.mu.Unlock()
		return false
	}
	closing := o.closing
	if closing && o.cut {
		waits := !o.disarm()
		c.mu.Unlock()
		return waits
	}
	c.mu.Unlock()
	if c.run.timed {
		c.limitWait(loop.WriteSide)
	}
	if closing {
		o.limitLinger(true)
		return true
	}
	if c.deadlines.Load() == nil {
		return true
	}
	if c.expired(loop.WriteSide) == nil {
		c.watchDeadline(loop.WriteSide)
		return true
	}
	c.mu.Lock()
	waits := !o.disarm()
	if !waits && o.leaves() {
		o.endTurn()
		return true
	}
	enqueued := o.count() > 0
	c.mu.Unlock()
	if !waits && enqueued {
		c.cutLate(os.ErrDeadlineExceeded)
		return false
	}
	return true // or it goes on with closeQueue
}

// leaves reports whether the queue, which the deadline keeps from sending, can leave what there is to the next who writes: nothing is
// enqueued, it is TLS that has something to say. The caller must have mu.
func (o *outbox) leaves() bool { return o.count() == 0 && !o.ending && !o.closing }

// cutLate closes the connection because a write deadline, or the server's WriteTimeout, has passed while something was queued.
func (c *Conn) cutLate(cause error) {
	if c.shut(cause) {
		c.run.server.counters.queues.timedOut.Add(1)
	}
}

// limitLinger makes sure that a queue whose connection is closed does not wait for ever, nor, if it waits, longer for a message than
// WriteTimeout.
func (o *outbox) limitLinger(waits bool) {
	l := o.conn.sock.Loop()
	if o.until == 0 {
		o.until = l.Now() + queueLinger
	}
	at := o.until
	if limit := o.limit(); waits && limit != 0 {
		at = min(at, limit)
	}
	if o.fires != at {
		o.fires = at
		l.SetTimer(&o.timer, at, (*lingered)(o))
	}
}

// limit returns when WriteTimeout is over for the message that is first, or 0.
func (o *outbox) limit() int64 {
	if d := o.conn.deadlines.Load(); d != nil {
		return d.limit[loop.WriteSide].Load()
	}
	return 0
}

// lingered is a queue whose time may be over.
type lingered outbox

func (t *lingered) RunOnLoop() {
	o := (*outbox)(t)
	o.fires = 0
	c, now, limit := o.conn, o.conn.sock.Loop().Now(), o.limit()
	c.mu.Lock()
	waits := o.armed
	late := waits && limit != 0 && now >= limit
	over := now >= o.until && c.run.draining.Load() == drainNone // otherwise Shutdown says how long
	o.cut = o.cut || late || over
	c.mu.Unlock()
	switch {
	case late:
		c.run.server.counters.timedOut.write.Add(1)
		c.run.server.counters.queues.timedOut.Add(1)
		o.send()
	case over:
		o.send()
	default:
		if now >= o.until {
			o.until = 0
		}
		o.limitLinger(waits)
	}
}

// fail drops what is queued and gives the turn back: err is why it cannot be sent, or there was an error before. What the peer has got of
// a connection that is closed is not to look like all.
func (o *outbox) fail(err error) {
	c := o.conn
	out := &c.output
	if out.err == nil {
		out.err = err
	}
	lost := out.size > 0
	if lost {
		out.reset()
	}
	if c.secure != nil {
		lost = c.secure.wire.drop() || lost
	}
	c.mu.Lock()
	o.state().unsent = out.err
	o.sending, o.begun = 0, 0
	lost = o.dropRest() > 0 || o.lost || lost
	o.lost = lost // it may have the turn again, for a place in line
	lingers := o.closing && !o.cut
	c.crossed(o.size)
	c.mu.Unlock()
	switch {
	case lost && c.closed.Load():
		c.wishes.Or(wishReset) // whoever is closing it may not have come to the queue yet
		c.sock.Reset()
	case lingers:
		c.sock.LingerOn()
	}
	c.mu.Lock()
	o.endTurn()
}

// endTurn gives the turn back. The caller must have mu, which is released.
func (o *outbox) endTurn() {
	c := o.conn
	o.holds = false
	over := o.retire()
	closing := o.closing
	c.mu.Unlock()
	if o.fires != 0 {
		o.fires = 0
		c.sock.Loop().StopTimer(&o.timer)
	}
	if closing && over {
		c.noteTraffic(true)
	}
	c.unlock(loop.WriteSide)
	if over {
		o.gone()
	}
}
