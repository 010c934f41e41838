package loop

import "net"

// output is what a connection has still to send. It owns memory only while there is something in it; during a callback it
// borrows the loop's.
type output struct {
	data     []byte
	sent     int // of data
	borrowed bool
}

func (o *output) size() int { return len(o.data) - o.sent }

// drop forgets what is queued. Borrowed memory stays, for giveBack.
func (o *output) drop() {
	if o.borrowed {
		o.sent = len(o.data)
		return
	}
	*o = output{}
}

// add takes a copy of p. What has been sent makes room first, when that is cheap.
func (o *output) add(p []byte) {
	if o.sent > 0 && o.sent >= len(o.data)/2 && len(o.data)+len(p) > cap(o.data) {
		o.data = o.data[:copy(o.data, o.data[o.sent:])]
		o.sent = 0
	}
	o.data = append(o.data, p...)
}

// borrow takes the loop's buffer for the time of a callback, unless somebody has it.
func (o *output) borrow(l *Loop) {
	if o.size() == 0 && l.lend != nil {
		o.data, o.sent, o.borrowed = l.lend, 0, true
		l.lend = nil
	}
}

// giveBack ends borrow. What is not sent moves to memory of the connection's own.
func (o *output) giveBack(l *Loop) {
	if !o.borrowed {
		return
	}
	left := append([]byte(nil), o.data[o.sent:]...)
	// A callback that wrote more than the buffer holds has made append leave it.
	if l.lend = o.data[:0]; cap(l.lend) > scratchSize {
		l.lend = make([]byte, 0, scratchSize)
	}
	*o = output{data: left}
}

// Write queues p, and sends it when the callback that is running returns, or else soon, from the loop. It never
// waits. Writes from all goroutines form one queue and are never mixed. It takes all of p, or nothing: it fails with
// [ErrQueueFull] if p would make the queue larger than Service.MaxQueued (an empty queue takes any p), and with
// net.ErrClosed after Close.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.closing.Load() {
		c.mu.Unlock()
		return 0, net.ErrClosed
	}
	size := c.out.size()
	if size > 0 && size+len(p) > c.service.MaxQueued {
		c.mu.Unlock()
		return 0, ErrQueueFull
	}
	c.out.add(p)
	post := !c.calling && !c.posted
	if post {
		c.posted = true
	}
	c.mu.Unlock()
	if post {
		c.socket.loop.Post((*flushing)(c))
	}
	return len(p), nil
}

// Queued returns how many bytes wait in memory to be sent.
func (c *Conn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.size()
}

// WriteReady is for the loop.
func (c *Conn) WriteReady() {
	c.mu.Lock()
	c.flush()
}

// flush sends what is queued, as much as there is room for. Loop goroutine only; mu is held, and released on return.
func (c *Conn) flush() {
	if c.ended {
		c.mu.Unlock()
		return
	}
	s := &c.socket
	var err error
	peak := c.out.size()
	if peak > 0 {
		var n int
		n, err = s.Send(c.out.data[c.out.sent:])
		c.out.sent += n
	}
	if err != nil && err != ErrNotReady {
		c.closing.Store(true)
		c.cause = err
		c.out.drop()
	}
	left := c.out.size()
	c.out.giveBack(s.loop)
	if left == 0 {
		c.out.drop()
	}
	done := left == 0 && c.closing.Load()
	c.mu.Unlock()
	if done {
		c.finish()
		return
	}
	if left > 0 && !s.Arm(WriteSide) && s.gates[WriteSide].state.Load() == gateReady {
		s.loop.Post((*flushing)(c)) // room came up between the two
	}
	c.tellPressure(peak)
}

// tellPressure calls the handler when the queue has crossed a mark: peak is what was queued before the flush. A queue that was high and is empty at once is both: whoever was refused a Write waits to hear that it is low.
func (c *Conn) tellPressure(peak int) {
	if !c.high && peak > c.service.HighWater {
		c.high = true
		c.callPressure(true)
	}
	if c.high && c.Queued() <= c.service.LowWater {
		c.high = false
		c.callPressure(false)
	}
}

func (c *Conn) callPressure(high bool) {
	if handler, ok := c.service.Handler.(PressureHandler); ok {
		c.callback(func() { handler.OnPressure(c, high) })
	}
}

// flushes are the connections that an iteration sends for at its end.
type flushes struct{ conns []*Conn }

func (f *flushes) add(c *Conn) { f.conns = append(f.conns, c) }

func (f *flushes) run() {
	for len(f.conns) > 0 {
		last := len(f.conns) - 1
		c := f.conns[last]
		f.conns[last] = nil
		f.conns = f.conns[:last]
		c.mu.Lock()
		c.posted = false
		c.flush()
	}
}
