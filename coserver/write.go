package coserver

import (
	"net"
	"sync/atomic"

	"github.com/strand-net/strand/loop"
)

// output is what a handler has written while it had unread input. Protected by the turn of the write side.
type output struct {
	buffer   *[gatherSize]byte // nil when size is 0
	size     int32
	streak   int32       // bytes sent without waiting once
	gathered atomic.Bool // size is not 0
	watched  atomic.Bool // the monitor will send it if the handler does not
	err      error       // why an earlier flush failed
}

// Write writes p: all of it, or it fails with the number of bytes that the kernel took and a *net.OpError. Writes of several
// goroutines are serialised.
//
// While the handler has unread input at hand (from ReadSlice, say), what it writes is gathered, and goes out in one
// system call when that input is used up. Otherwise it goes to the socket at once. An error of gathered output is that
// of the next Write.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.lock(loop.WriteSide); err != nil {
		return 0, c.opError("write", err)
	}
	n, err := 0, c.expired(loop.WriteSide)
	if err == nil {
		n, err = c.write(p)
	}
	c.unlock(loop.WriteSide)
	return n, c.writeError("write", err)
}

func (c *Conn) write(p []byte) (int, error) {
	out := &c.output
	if out.err != nil {
		return 0, out.err
	}
	if int(out.size)+len(p) <= gatherSize && c.mayGather() {
		out.gather(p)
		c.watchGathered()
		return len(p), nil
	}
	if out.size == 0 {
		return c.send(p)
	}
	if int(out.size)+len(p) > gatherSize {
		if _, err := c.sendGathered(); err != nil {
			return 0, err
		}
		return c.write(p)
	}
	before := int(out.size)
	out.gather(p)
	sent, err := c.sendGathered()
	n := max(0, sent-before)
	if givesUp(err) {
		out.takeBack(len(p) - n) // the caller has them still
	}
	return n, err
}

// mayGather reports whether what the caller writes may wait: it is the handler, and has unread input at hand.
func (c *Conn) mayGather() bool { return c.input.begun.Load() && c.task.isCaller() }

// watchGathered is what comes after something has been gathered: so either this sees that the loop has been taken over, or who takes it
// over sees it.
func (c *Conn) watchGathered() {
	if !c.task.onLoop() && !c.output.watched.Swap(true) {
		c.run.engine.monitor.watch(c)
	}
}

// open makes sure that there is a buffer to gather in.
func (o *output) open() {
	if o.buffer == nil {
		o.buffer = gatherBuffers.Get().(*[gatherSize]byte)
		o.gathered.Store(true)
	}
}

func (o *output) gather(p []byte) {
	o.open()
	o.size += int32(copy(o.buffer[o.size:], p))
}

// takeBack forgets what was gathered last.
func (o *output) takeBack(n int) {
	if o.size -= int32(n); o.size == 0 {
		o.reset()
	}
}

func (o *output) reset() {
	gatherBuffers.Put(o.buffer)
	o.buffer, o.size = nil, 0
	o.gathered.Store(false)
}

// flush sends what is gathered. The error is the next Write's to report, unless the connection is closed or the time of the
// server's limit is over.
func (c *Conn) flush() error {
	switch c.sock.Acquire(loop.WriteSide) {
	case loop.TurnClosed:
		return net.ErrClosed
	case loop.TurnBusy:
		if c.queueHolds() {
			return nil // it sends what is gathered first
		}
		if err := c.queueFor(loop.WriteSide); err != nil {
			return err
		}
	}
	var err error
	if c.output.size > 0 {
		_, err = c.sendGathered()
	}
	c.unlock(loop.WriteSide)
	if c.closed.Load() {
		return net.ErrClosed
	}
	if isLimit(err) {
		return err
	}
	return nil
}

// sendGathered sends what is gathered, waiting if need be. What is not sent by the deadline stays gathered; any other error
// is also that of all later writes. The caller must have the turn of the write side.
func (c *Conn) sendGathered() (int, error) {
	out := &c.output
	n, err := c.send(out.buffer[:out.size])
	if givesUp(err) {
		out.size = int32(copy(out.buffer[:], out.buffer[n:out.size]))
		return n, err
	}
	out.reset()
	out.err = err
	return n, err
}

// flushNow sends what is gathered, and the end of TLS, as far as it goes without waiting. The caller must have the turn of the
// write side.
func (o *output) flushNow(c *Conn) {
	if c.secure != nil {
		c.secure.endNow(c)
	} else if o.size > 0 {
		_, _ = c.sock.Send(o.buffer[:o.size])
	}
	if o.size > 0 {
		o.reset()
	}
}

// send sends p, waiting if need be. The caller must have the turn of the write side.
func (c *Conn) send(p []byte) (int, error) {
	if c.secure != nil {
		return c.secure.send(c, p)
	}
	return c.sendRaw(p)
}

func (c *Conn) sendRaw(p []byte) (int, error) {
	for sent := 0; ; {
		piece := p[sent:min(len(p), sent+maxPiece)]
		n, err := c.sock.Send(piece)
		sent += n
		if err := c.sent(n, len(piece), err); err != nil {
			return sent, err
		}
		if sent == len(p) {
			return sent, nil
		}
	}
}

// sent is what comes after a system call that has sent n bytes of those that it was asked to: a handler that has sent its share without waiting lets others
// go first, and if there was no room, the caller waits for it. The caller must have the turn of the write side.
func (c *Conn) sent(n, asked int, err error) error {
	out := &c.output
	if c.run.timed {
		c.countSent(n)
	}
	if out.streak += c.spent(n, asked); out.streak >= turnBudget {
		out.streak = 0
		if t := c.self(); t != nil {
			t.giveWay()
		}
	}
	if err == loop.ErrNotReady {
		out.streak = 0
		_, err = c.wait(loop.WriteSide)
	}
	if err != nil && c.closed.Load() {
		out.err = net.ErrClosed // nothing is to follow what may be half a message
		return net.ErrClosed    // what failed may have been the end that Close has sent
	}
	return err
}

// writeError gives err the form of the errors of Write.
func (c *Conn) writeError(op string, err error) error {
	if err == nil || c.secure != nil && !isConnError(err) && !givesUp(err) {
		return err
	}
	return c.opError(op, err)
}
