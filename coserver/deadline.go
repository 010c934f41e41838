package coserver

import (
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/loop"
)

// deadlines are when the calls of each side give up. A connection has them from its first deadline on.
//
// The timer is armed lazily: only when somebody waits, and it is not touched when a deadline moves on or is cleared. When
// it fires it looks what holds now. So a deadline for each request costs the store of a number.
type deadlines struct {
	at    [2]atomic.Int64 // by loop.Side: on the loop's clock, 0: none
	limit [2]atomic.Int64 // the same of the server's own, for the wait that is under way or the last one
	moved atomic.Uint32   // bytes sent since there was a limit, modulo its size
	begin [2]uint32       // by loop.Side: moved when the limit was set; protected by the turn of the side, as left is
	left  [2]int64        // what the limit leaves to the next wait of its phase, and a nanosecond; 0 while a call is under way
	armed atomic.Int64    // when the timer fires, 0: it does not
	timer loop.Timer      // loop goroutine only
}

// due returns when a wait for side has to end: the earlier of its deadline and the server's limit, or 0.
func (d *deadlines) due(side loop.Side) int64 {
	at, limit := d.at[side].Load(), d.limit[side].Load()
	if at == 0 || limit != 0 && limit < at {
		return limit
	}
	return at
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return c.setDeadline(t, loop.ReadSide, loop.WriteSide)
}

// SetReadDeadline makes calls that read, also one that waits already, fail with os.ErrDeadlineExceeded from t on. Nothing that
// has arrived is lost, and with a later deadline the connection reads on. The zero Time means no deadline. Safe from any
// goroutine. It fails with net.ErrClosed.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(t, loop.ReadSide) }

// SetWriteDeadline makes writes, also one that waits already, fail with os.ErrDeadlineExceeded from t on; the number that
// such a Write returns says how much the kernel took. If something that was enqueued waits at t, the connection is closed. The zero
// Time means no deadline. Safe from any goroutine. It fails with net.ErrClosed.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, loop.WriteSide) }

func (c *Conn) setDeadline(t time.Time, sides ...loop.Side) error {
	if c.closed.Load() {
		return c.localError("set", net.ErrClosed)
	}
	d := c.deadlines.Load()
	var at int64
	if !t.IsZero() {
		if d == nil {
			d = c.makeDeadlines()
		}
		at = max(1, c.sock.Loop().TimeOf(t))
	} else if d == nil {
		return nil
	}
	for _, side := range sides {
		// Whoever begins to wait from now on sees the new deadline; whoever waits already is seen.
		d.at[side].Store(at)
		if at != 0 && c.sock.Waited(side) {
			if c.expired(side) != nil {
				c.wakeWaiter(side, byOther)
			} else {
				c.armTimer(d, at)
			}
		}
	}
	return nil
}

func (c *Conn) makeDeadlines() *deadlines {
	if d := c.deadlines.Load(); d != nil {
		return d
	}
	c.deadlines.CompareAndSwap(nil, new(deadlines))
	return c.deadlines.Load()
}

// wakening is what has ended a wait.
type wakening uint8

const (
	byReadiness  wakening = iota
	byOther               // a deadline, a limit, the end: the one that waited looks which
	byCancelling          // CancelRead or CancelWrite
)

// wakeWaiter ends a wait for another reason than readiness. It reports whether there was one.
func (c *Conn) wakeWaiter(side loop.Side, why wakening) bool {
	if !c.sock.Disarm(side) {
		return false
	}
	c.woken[side] = why
	if side == loop.WriteSide {
		c.wakeWriter(nil)
	} else {
		c.waiting[side].wake(nil)
	}
	return true
}

// expired returns os.ErrDeadlineExceeded if the deadline of side is over.
func (c *Conn) expired(side loop.Side) error {
	d := c.deadlines.Load()
	if d == nil {
		return nil
	}
	if at := d.at[side].Load(); at != 0 && c.sock.Loop().Now() >= at {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// watchDeadline makes sure that a wait for side, which has been armed, ends in time.
func (c *Conn) watchDeadline(side loop.Side) {
	if d := c.deadlines.Load(); d != nil {
		if at := d.due(side); at != 0 {
			c.armTimer(d, at)
		}
	}
}

// armTimer makes the timer fire at the given time or before.
func (c *Conn) armTimer(d *deadlines, at int64) {
	for {
		armed := d.armed.Load()
		if armed != 0 && armed <= at {
			return
		}
		if d.armed.CompareAndSwap(armed, at) {
			c.sock.Loop().Post((*arming)(c))
			return
		}
	}
}

// arming and expiring are a Conn on its loop, to set its timer and because it has fired.
type (
	arming   Conn
	expiring Conn
)

func (a *arming) RunOnLoop() {
	c := (*Conn)(a)
	d := c.deadlines.Load()
	if at := d.armed.Load(); at != 0 && !c.closed.Load() {
		c.sock.Loop().SetTimer(&d.timer, at, (*expiring)(c))
	} else {
		c.sock.Loop().StopTimer(&d.timer)
	}
}

func (e *expiring) RunOnLoop() {
	c := (*Conn)(e)
	d := c.deadlines.Load()
	// From here on who begins to wait arms the timer anew; who waits already is seen below.
	d.armed.Store(0)
	now := c.sock.Loop().Now()
	for _, side := range [...]loop.Side{loop.ReadSide, loop.WriteSide} {
		at := d.due(side)
		switch {
		case at == 0:
		case at <= now:
			c.wakeWaiter(side, byOther)
		case c.sock.Waited(side):
			c.armTimer(d, at)
		}
	}
}

// stopTimer forgets the timer of a connection that is closed.
func (c *Conn) stopTimer() {
	if d := c.deadlines.Load(); d != nil && d.armed.Load() != 0 {
		c.sock.Loop().Post((*arming)(c))
	}
}
