package coserver

import "github.com/strand-net/strand/loop"

// CancelRead ends the call that waits for something to read, if there is one, and reports whether there was. The call fails with an
// error that matches context.Canceled. Nothing that has arrived is lost, and the next call is not concerned: unlike a deadline in
// the past, which ends also those that come, it need not be taken back. (To be done with a call that may be about to begin, set a
// deadline.) StartTLS, which waits to read too, fails for good. Safe from any goroutine.
func (c *Conn) CancelRead() bool { return c.wakeWaiter(loop.ReadSide, byCancelling) }

// CancelWrite is CancelRead for a call that waits for room to write. Such a Write returns how much the kernel took. What is enqueued, and
// whoever waits for it to be sent, is not concerned.
func (c *Conn) CancelWrite() bool {
	return !c.queueHolds() && c.wakeWaiter(loop.WriteSide, byCancelling)
}
