package coserver

import (
	"sync/atomic"

	"github.com/strand-net/strand/loop"
)

// helper is a goroutine that sends what a handler has gathered, for that one is apart from its loop, and busy with something else.
type helper struct {
	hurry atomic.Bool // the connection is about to be closed: the helper is to let go
	done  notice
}

// sendFor sends what the handler of c has gathered, on a goroutine, which may wait for room.
func (c *Conn) sendFor() {
	if c.output.gathered.Load() {
		c.run.engine.goOn(c.help)
	}
}

// help does not stand in line for the write side: whoever has it sends what is gathered first. So whoever finds a helper and the write
// side taken need not wait for anybody else.
func (c *Conn) help() {
	h, x := new(helper), c.extras()
	if !x.helper.CompareAndSwap(nil, h) {
		return
	}
	if c.sock.Acquire(loop.WriteSide) == loop.TurnTaken {
		if c.output.size > 0 {
			_, _ = c.sendGathered() // an error is the next Write's to report
		}
		x.helper.Store(nil)
		c.unlock(loop.WriteSide)
	} else {
		x.helper.Store(nil)
	}
	h.done.give()
}

// dismissHelper makes a helper let go of the write side, and reports whether there was one. What it has not sent is gathered still.
func (c *Conn) dismissHelper() bool {
	x := c.extra.Load()
	if x == nil {
		return false
	}
	h := x.helper.Load()
	if h == nil {
		return false
	}
	h.hurry.Store(true)
	c.wakeWaiter(loop.WriteSide, byOther)
	h.done.wait()
	return true
}

// hurried reports whether the caller is a helper that is to let go.
func (c *Conn) hurried(side loop.Side) bool {
	if side != loop.WriteSide {
		return false
	}
	x := c.extra.Load()
	if x == nil {
		return false
	}
	h := x.helper.Load()
	return h != nil && h.hurry.Load()
}
