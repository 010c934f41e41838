package coserver

import (
	"net"
	"time"
)

// Observer is told what becomes of a [Server]'s connections. It is a struct of functions, as httptrace.ClientTrace is, and not an
// interface: who wants to know one thing sets one function, what is nil costs nothing, and there may be more of them one day
// without breaking anybody. Nothing in it is called for a message.
//
// The functions are called one at a time for a connection, but at the same time for several. Whoever calls waits for them,
// a connection or all that are on its loop: they must not block, nor panic.
type Observer struct {
	// Opened is called when a connection has been let in, before its handshake and its handler. On the goroutine of its loop.
	Opened func(*Conn)

	// Closed is called once for each Opened, when the connection is closed, its handler has returned, and what was enqueued is sent or
	// dropped. On the goroutine of the handler; if none was started (ErrTooManyGoroutines), or the queue was the last, on that of
	// the loop.
	Closed func(*Conn, Ending)

	// TakenOver is called when a handler that has blocked or computed for so long that its loop went on without it waits for its
	// connection again, or ends: kept is how long it was busy after that. Engine.Stats tells of those that still are. On the
	// goroutine of the handler.
	TakenOver func(c *Conn, kept time.Duration)
}

// Ending is how a connection was, as its [Observer] is told.
type Ending struct {
	// Cause is why it ended: what context.Cause of its Context is, so a *PanicError after a panic, io.EOF after a handler that
	// returned that, net.ErrClosed after one that returned nil.
	Cause error
	// Age is how long it lasted, until its handler returned and its queue was over.
	Age time.Duration
	// Received, Sent and Unacked are as in ConnStats, when it was closed or its queue was over.
	Received, Sent, Unacked uint64
	// Refused and Dropped are as in ConnStats, and Lost is how many messages that were enqueued had not been sent whole in the end.
	Refused, Dropped, Lost uint64
}

// traffic is what the kernel knows of a connection that is about to be closed.
type traffic struct{ received, sent, unacked uint64 }

// observe makes room for what the observer will be told of the end of c, which may come as soon as others know of c.
func (c *Conn) observe() {
	if o := c.run.observer; o != nil && o.Closed != nil {
		c.extras()
	}
}

// opened tells the observer of a connection that begins.
func (c *Conn) opened() {
	if o := c.run.observer; o != nil && o.Opened != nil {
		o.Opened(c)
	}
}

// noteTraffic is called before the descriptor is closed: afterwards the kernel knows of nothing. Once the socket is, the caller must
// have a turn.
func (c *Conn) noteTraffic(closed bool) {
	if o := c.run.observer; o == nil || o.Closed == nil {
		return
	}
	ask := c.sock.Info
	if closed {
		ask = c.sock.LastInfo
	}
	info, _ := ask() // none of TCP has none
	x := c.extras()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.moved = traffic{info.Received, info.Sent, info.Unacked}
}

// ended tells the observer of a connection that is over.
func (c *Conn) ended() {
	o := c.run.observer
	if o == nil || o.Closed == nil {
		return
	}
	x := c.extras()
	x.mu.Lock()
	ending := Ending{Cause: x.cause, Age: c.Age(), Received: x.moved.received, Sent: x.moved.sent, Unacked: x.moved.unacked}
	x.mu.Unlock()
	queue := c.queueStats()
	ending.Refused, ending.Dropped, ending.Lost = queue.refused, queue.dropped, queue.lost
	o.Closed(c, ending)
}

// cameBack is called when the handler, which must be the caller, waits again or ends, with whether its loop has gone on without it.
// It returns for how long, in nanoseconds, the first time that it is called after that.
func (c *Conn) cameBack() (kept int64) {
	began := c.extras().takenOver.Swap(0)
	if began == 0 {
		return 0
	}
	r := c.task.reactor
	kept = max(1, r.loop.Now()-began)
	r.engine.away.Add(-1)
	r.engine.awayFor.Add(kept)
	if o := c.run.observer; o != nil && o.TakenOver != nil {
		o.TakenOver(c, time.Duration(kept))
	}
	return kept
}

// CloseWithCause is Close with a reason: that is what context.Cause of the Context will be, and what an [Observer] is told. It is how
// somebody else than the handler ends a connection, whose calls then fail with net.ErrClosed. A nil cause is net.ErrClosed. Safe
// from any goroutine.
func (c *Conn) CloseWithCause(cause error) error {
	if cause == nil {
		cause = net.ErrClosed
	}
	if c.closed.Load() || !c.finish(cause) {
		return c.opError("close", net.ErrClosed)
	}
	return nil
}
