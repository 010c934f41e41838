package coserver

import "runtime/debug"

// pressure is how often a queue has crossed its marks, and how much of that Server.OnPressure has been told. It is high after an odd
// number of times. Protected by the Conn's mu.
type pressure struct {
	crossed, told uint32
	telling       bool // a goroutine does, and will see what comes meanwhile
}

// crossed notes that the queue has size bytes now, and has the server told if that crosses a mark. The caller must have mu.
func (c *Conn) crossed(size int) {
	limits := &c.run.queues
	if limits.pressure == nil {
		return
	}
	p := &c.extra.Load().queue.pressure
	if high := p.crossed%2 == 1; high && size > limits.low || !high && size <= limits.high {
		return
	}
	if p.crossed++; !p.telling {
		p.telling = true
		c.run.engine.goOn(c.tellPressure)
	}
}

// tellPressure calls Server.OnPressure until it has been told how it is. What it comes too late for is left out in pairs, but for the
// last: a queue that was high and is low again is both, for somebody may wait to hear that it is low.
func (c *Conn) tellPressure() {
	returned := true
	defer func() {
		if !returned {
			c.fellTelling(recover())
		}
	}()
	for {
		high, more := c.nextPressure()
		if !more {
			return
		}
		returned = false
		c.run.queues.pressure(c, high)
		returned = true
	}
}

func (c *Conn) nextPressure() (high, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.extra.Load().queue.pressure
	if p.told == p.crossed {
		p.telling = false
		return false, false
	}
	p.told += (p.crossed - p.told - 1) &^ 1
	p.told++
	return p.told%2 == 1, true
}

// fellTelling ends a connection whose OnPressure has not returned. Nothing more is told.
func (c *Conn) fellTelling(reason any) {
	err := ErrHandlerExited
	if reason != nil {
		err = &PanicError{Value: reason, Stack: debug.Stack()}
	}
	c.shut(err)
	c.run.server.counters.panics.Add(1)
	c.run.server.report(c, err, endFell)
}
