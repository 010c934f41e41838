package coserver

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"syscall"

	"github.com/strand-net/strand/loop"
)

// ErrQueueFull is returned by Enqueue if the queue has no room for the message, of which nothing was taken. It is also the cause of
// the end of a connection that CutSlow has closed.
var ErrQueueFull = errors.New("coserver: output queue full")

// Enqueue sends p without ever waiting: it copies p behind what is queued, and the connection's loop sends that as the peer takes it,
// many messages in one system call. It takes all of p or, with an error, nothing. Safe from any goroutine.
//
// Enqueue and Write keep their order: what a goroutine writes after it has enqueued something is sent after it, and the other way
// round, and no message comes in the middle of another. So a Write waits for what is queued; and a Relay, or a ReadFrom of a file or a
// connection, is one Write, for the end of which waits what is enqueued meanwhile.
//
// What waits is bounded by Server.MaxQueued and MaxQueuedTotal. If there is no room (and for what is larger than MaxQueued there never
// is), it fails with ErrQueueFull and leaves everything as it was, or does what Server.QueuePolicy says. Connections of Listen and
// Dial have the limits of the zero Server.
//
// After a write deadline it fails with os.ErrDeadlineExceeded, as Write does. A write deadline that passes while something is queued
// closes the connection, for there is no call that could tell, and so does Server.WriteTimeout if the peer does not take a message in
// that time once it is first in the queue. That, or ErrWriteTimeout, is then the cause of its Context. If the connection cannot be written to any more, it fails as Write
// would; if that shows only later, the next Enqueue or Write fails with the error.
func (c *Conn) Enqueue(p []byte) error { return c.enqueue(p, nil) }

// Queued returns how many bytes the queue of Enqueue holds, as MaxQueued counts them. Safe from any goroutine.
func (c *Conn) Queued() int {
	return c.queueStats().size
}

// Flush waits until the kernel has got all that was written and enqueued before. Errors are those of Write.
func (c *Conn) Flush() error {
	if err := c.lock(loop.WriteSide); err != nil {
		return c.opError("write", err)
	}
	err := c.expired(loop.WriteSide)
	if err == nil {
		err = c.output.err
	}
	if err == nil && c.output.size > 0 {
		_, err = c.sendGathered()
	}
	if err == nil && c.secure != nil {
		err = c.secure.wire.flush()
	}
	c.unlock(loop.WriteSide)
	return c.writeError("write", err)
}

// enqueue takes m, or if that is nil a copy of p.
func (c *Conn) enqueue(p []byte, m *Message) error {
	if c.closed.Load() {
		return c.opError("write", net.ErrClosed)
	}
	if err := c.expired(loop.WriteSide); err != nil {
		return c.opError("write", err)
	}
	c.extras()
	c.mu.Lock()
	if err := c.unwritable(); err != nil || len(p) == 0 {
		c.mu.Unlock()
		if err != nil {
			return c.opError("write", err)
		}
		return nil
	}
	o := c.openOutbox()
	lack := o.add(p, m)
	due := lack == nothing && o.stand(1) && o.schedule()
	over := o.retire()
	c.crossed(o.size)
	if lack != nothing {
		c.extra.Load().queue.refused++
	}
	c.mu.Unlock()
	if due {
		c.reactor().sender.add(c)
	}
	if over {
		o.gone()
	}
	if lack != nothing {
		c.lacks(lack)
		return ErrQueueFull
	}
	return nil
}

// unwritable returns why nothing can be sent any more. The caller must have mu.
func (c *Conn) unwritable() error {
	wishes := c.wishes.Load()
	switch {
	case c.closed.Load() || wishes&wishClose != 0:
		return net.ErrClosed
	case wishes&wishNoWrites != 0:
		return syscall.EPIPE
	}
	if q := c.extra.Load().queue; q != nil {
		return q.unsent
	}
	return nil
}

// lack is what a message finds no room in.
type lack uint8

const (
	nothing    lack = iota
	lacksRoom       // MaxQueued
	lacksAll        // MaxQueued, in an empty queue
	lacksTotal      // MaxQueuedTotal
)

// lacks counts a message that was refused, and does what the policy says.
func (c *Conn) lacks(what lack) {
	counts := &c.run.server.counters.queues
	if what == lacksTotal {
		counts.refusedTotal.Add(1)
	} else {
		counts.refused.Add(1)
	}
	if c.run.queues.policy != CutSlow {
		return
	}
	switch what {
	case lacksRoom:
		c.cutSlow()
	case lacksTotal:
		c.run.cutLongest()
	}
}

func (c *Conn) cutSlow() {
	if c.shut(ErrQueueFull) {
		c.run.server.counters.queues.cut.Add(1)
	}
}

// cutLongest closes the connections that have the most queued until an eighth of MaxQueuedTotal is free, at least one. It does not
// wait for that.
func (r *run) cutLongest() {
	if !r.cutting.Swap(true) {
		r.engine.goOn(r.cutNow)
	}
}

func (r *run) cutNow() {
	defer r.cutting.Store(false)
	type slow struct {
		conn *Conn
		size int
	}
	var slowest []slow
	r.each(func(c *Conn) {
		if size := c.Queued(); size > 0 {
			slowest = append(slowest, slow{c, size})
		}
	})
	slices.SortFunc(slowest, func(a, b slow) int { return cmp.Compare(b.size, a.size) })
	for i, s := range slowest {
		if i > 0 && r.memory.free() >= r.memory.max/8 {
			return
		}
		s.conn.cutSlow()
	}
}
