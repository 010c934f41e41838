package coserver

import (
	"net"
	"os"
	"slices"

	"github.com/strand-net/strand/loop"
)

// line returns who stands in line for a turn, first come first. The caller must have mu.
func (c *Conn) line() []*linePlace {
	if c.places == nil {
		return nil
	}
	return *c.places
}

// joinLine puts p at the end of the line. The caller must have mu, and the turn must be somebody's who has been told that there is one.
func (c *Conn) joinLine(p *linePlace) {
	if c.places == nil {
		c.places = new([]*linePlace)
	}
	*c.places = append(*c.places, p)
}

// pass gives the turn of side, which the caller has, to the first in line for it. It reports false if there is nobody any more.
func (c *Conn) pass(side loop.Side) bool {
	c.mu.Lock()
	first := c.leaveLine(side)
	due := false
	if first != nil && first.queue {
		o := c.queue()
		o.takeTurn(first)
		due = o.schedule()
	}
	c.mu.Unlock()
	switch {
	case first == nil:
		return false
	case due:
		c.reactor().sender.add(c)
	case !first.queue:
		first.waiter.wake(nil)
	}
	return true
}

// leaveLine takes the first place for side out of the line. The caller must have mu.
func (c *Conn) leaveLine(side loop.Side) (first *linePlace) {
	line := c.line()
	more := false
	at := -1
	for i, p := range line {
		if p.side == side {
			more = at >= 0
			if more {
				break
			}
			at = i
		}
	}
	if !more {
		c.sock.Dequeued(side)
	}
	if at < 0 {
		return nil
	}
	first = line[at]
	*c.places = slices.Delete(line, at, at+1)
	return first
}

// dismissLine sends those away who stand in line for a turn of a socket that is closed: who has it may have it for long. The queue
// stays, and if it has the turn, what it stands in line with is its own now.
func (c *Conn) dismissLine(cause error) {
	reason := net.ErrClosed
	if cause == os.ErrDeadlineExceeded || cause == ErrWriteTimeout { // it is the queue's
		reason = cause
	}
	c.mu.Lock()
	var dismissed []*linePlace
	if len(c.line()) > 0 {
		dismissed = c.takeDismissed(reason)
	}
	c.mu.Unlock()
	for _, p := range dismissed {
		p.waiter.wake(nil)
	}
}

func (c *Conn) takeDismissed(reason error) (dismissed []*linePlace) {
	o := c.queue()
	stays := false
	*c.places = slices.DeleteFunc(*c.places, func(p *linePlace) bool {
		switch {
		case !p.queue:
			p.denied = reason
			dismissed = append(dismissed, p)
		case o.holds:
			o.mine += p.messages
			o.places--
		default:
			stays = true
			return false
		}
		return true
	})
	c.sock.Dequeued(loop.ReadSide)
	if !stays {
		c.sock.Dequeued(loop.WriteSide)
	}
	return dismissed
}
