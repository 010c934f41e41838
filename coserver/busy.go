package coserver

// SetBusy says whether the connection is busy even while a call waits for the first byte of something new: because what came before is
// still worked on, by a handler that reads meanwhile to see the peer go, say. Then Shutdown does not take it for idle, and
// IdleTimeout does not apply to it. Safe from any goroutine.
func (c *Conn) SetBusy(busy bool) {
	if busy {
		c.wishes.Or(wishBusy)
		return
	}
	if c.wishes.And(^wishBusy)&wishBusy != 0 && c.leaves() {
		c.endIfIdle()
	}
}

// idle reports whether it is idle if a call waits to read: nothing has come of the next request, and there is nothing to be done. Safe
// from any goroutine.
func (c *Conn) idle() bool { return !c.input.begun.Load() && c.wishes.Load()&wishBusy == 0 }
