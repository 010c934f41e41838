package coserver

import (
	"errors"
	"os"
	"time"

	"github.com/strand-net/strand/loop"
)

// What a call fails with when a limit of its server is over, in a *net.OpError. They match os.ErrDeadlineExceeded, and are
// the cause of the connection's Context if the handler returns them.
var (
	ErrIdleTimeout      error = &limitError{"Server.IdleTimeout"}
	ErrReadTimeout      error = &limitError{"Server.ReadTimeout"}
	ErrWriteTimeout     error = &limitError{"Server.WriteTimeout"}
	ErrHandshakeTimeout error = &limitError{"Server.HandshakeTimeout"} // not in a *net.OpError
)

// limitError says which limit is over, and is a timeout in the sense of net.Error.
type limitError struct{ field string }

func (e *limitError) Error() string        { return "i/o timeout (" + e.field + ")" }
func (e *limitError) Timeout() bool        { return true }
func (e *limitError) Temporary() bool      { return true }
func (e *limitError) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// givesUp reports whether err is what a wait ends with that somebody has had enough of, by a deadline, a limit or CancelWrite: the
// connection is as good as before.
func givesUp(err error) bool {
	if err == os.ErrDeadlineExceeded || err == errCanceled {
		return true
	}
	_, limit := err.(*limitError)
	return limit
}

// isLimit reports whether a limit of the server's is over, so that everything has been said by counting it.
func isLimit(err error) bool {
	return errors.Is(err, ErrIdleTimeout) || errors.Is(err, ErrReadTimeout) || errors.Is(err, ErrWriteTimeout)
}

// timeouts are those of a Server, in nanoseconds; 0: none.
type timeouts struct{ idle, read, write time.Duration }

func (t timeouts) any() bool { return t != timeouts{} }

// phase is what a connection waits for, as the limits of its server have it. A phase begins with its first wait, goes on from wait
// to wait, whatever comes, and ends
//
//   - idle and message, when a call that reads has got what it wanted, so that bytes that come one by one win no time;
//   - writing, when the call that writes ends, or has moved another megabyte.
//
// From one call to the next, as after a Peek, its time stands still, for how long a handler computes is no fault of the peer's.
type phase uint8

const (
	phaseNone      phase = iota
	phaseIdle            // for the first byte of something new
	phaseMessage         // for the rest of it
	phaseWriting         // for the peer to take what is written
	phaseHandshake       // in a handshake, which has a limit of its own
	phaseBusy            // for the first byte of something new, but it is not idle (SetBusy)
)

// pieceOfTime is how many bytes a message or a Write gets the whole time for: another megabyte has it again.
const pieceOfTime = 1 << 20

// limitWait says when a wait for side that is about to begin must end. The caller must have the turn of side.
func (c *Conn) limitWait(side loop.Side) {
	before := c.phases[side]
	if before == phaseHandshake {
		return
	}
	now, limit := phaseWriting, c.run.timeouts.write
	if side == loop.ReadSide {
		if now, limit = phaseIdle, c.run.timeouts.idle; c.input.begun.Load() {
			now, limit = phaseMessage, c.run.timeouts.read
		} else if !c.idle() {
			now, limit = phaseBusy, 0
		}
	}
	d := c.deadlines.Load()
	if before == now && (now != phaseWriting || d == nil || d.moved.Load()-d.begin[side] < pieceOfTime) {
		if d != nil && d.left[side] > 0 {
			d.limit[side].Store(c.sock.Loop().Now() + d.left[side] - 1)
			d.left[side] = 0
		}
		return
	}
	c.phases[side] = now
	if limit == 0 {
		if d != nil {
			d.noLimit(side)
		}
		return
	}
	c.setLimit(c.makeDeadlines(), side, limit)
}

func (d *deadlines) noLimit(side loop.Side) {
	d.limit[side].Store(0)
	d.left[side] = 0
}

func (c *Conn) setLimit(d *deadlines, side loop.Side, limit time.Duration) {
	d.begin[side], d.left[side] = d.moved.Load(), 0
	d.limit[side].Store(c.sock.Loop().Now() + int64(limit))
}

// limitOver returns why a wait for side that was ended has taken too long, or nil if its deadline is over before, or nothing is. A
// handler that goes on after it has the same time again. The caller must have the turn of side.
func (c *Conn) limitOver(side loop.Side) error {
	d := c.deadlines.Load()
	if d == nil {
		return nil
	}
	at, limit := d.at[side].Load(), d.limit[side].Load()
	if limit == 0 || at != 0 && at <= limit || c.sock.Loop().Now() < limit {
		return nil
	}
	over := c.phases[side]
	if over == phaseIdle && (d.moved.Load() != d.begin[side] || !c.idle()) {
		c.setLimit(d, side, c.run.timeouts.idle) // it is being written to, or is busy by now
		return nil
	}
	c.phases[side] = phaseNone
	counts := &c.run.server.counters
	switch over {
	case phaseIdle:
		counts.timedOut.idle.Add(1)
		return ErrIdleTimeout
	case phaseMessage:
		counts.timedOut.read.Add(1)
		return ErrReadTimeout
	case phaseWriting:
		counts.timedOut.write.Add(1)
		return ErrWriteTimeout
	}
	return nil
}

// countSent says that n bytes have gone out: a connection that is written to is not idle. Safe from any goroutine.
func (c *Conn) countSent(n int) {
	if d := c.deadlines.Load(); d != nil {
		d.moved.Add(uint32(n))
	}
}

// limitHandshake begins what the limits do not apply to, or ends it. The caller must have the turns of both sides.
func (c *Conn) limitHandshake(begin bool) {
	if !c.run.timed {
		return
	}
	for side := range c.phases {
		if c.phases[side] = phaseNone; begin {
			c.phases[side] = phaseHandshake
		}
		if d := c.deadlines.Load(); d != nil {
			d.noLimit(loop.Side(side))
		}
	}
}

// gotPart says that a call that reads has got another part of a message, of which it had before bytes. The caller must have the turn
// of the read side.
func (c *Conn) gotPart(before, part int) {
	if before/pieceOfTime != (before+part)/pieceOfTime {
		c.phases[loop.ReadSide] = phaseNone
	}
}

// endRead gives back the turn of the read side after a call that reads, with its error. If it got what it wanted, the next
// begins something new.
func (c *Conn) endRead(err error) {
	if err == nil {
		c.phases[loop.ReadSide] = phaseNone
		c.unlock(loop.ReadSide)
	} else {
		c.suspendRead()
	}
}

// suspendRead is endRead for a call after which the phase goes on.
func (c *Conn) suspendRead() {
	const side = loop.ReadSide
	if d := c.deadlines.Load(); d != nil && c.phases[side] != phaseNone && d.left[side] == 0 {
		if limit := d.limit[side].Load(); limit != 0 {
			d.left[side] = max(0, limit-c.sock.Loop().Now()) + 1
		}
	}
	c.unlock(side)
}
