package coserver

// Wait returns when the connection is closed, whoever closes it. It is for a handler that has given its connection to others, for
// with its return the connection would end. It tells more than Context: that ends already when the peer is gone in both directions,
// though what it has sent may not have been read. Safe from any goroutine.
func (c *Conn) Wait() {
	x := c.extras()
	x.mu.Lock()
	if c.closed.Load() { // whoever closes it from here on finds the extras
		x.mu.Unlock()
		return
	}
	w := prepared()
	x.closed = append(x.closed, w)
	x.mu.Unlock()
	w.wait()
}

// releaseWaiters ends every Wait. The connection must be closed.
func (c *Conn) releaseWaiters() {
	x := c.extra.Load()
	if x == nil {
		return
	}
	x.mu.Lock()
	waiting := x.closed
	x.closed = nil
	x.mu.Unlock()
	for _, w := range waiting {
		w.wake(nil)
	}
}
