package coserver

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/strand-net/strand/loop"
)

// Conn is a connection, with calls that wait. Its methods may be called from any goroutine, one reader beside one
// writer; further readers and writers wait for their turn, in order. The connection's own handler waits without
// holding up anything else; see [Server].
//
// An idle Conn owns no buffers: input stays in the kernel until it is asked for.
type Conn struct {
	// What every exchange touches comes first, close together.
	sock      loop.Socket
	task      task
	run       *run
	input     input
	output    output
	waiting   [2]waiter // by loop.Side: whoever has the turn and waits for readiness
	deadlines atomic.Pointer[deadlines]
	extra     atomic.Pointer[extras]
	secure    *secure // nil without TLS; protected by the turns of both sides
	closed    atomic.Bool
	wishes    atomic.Uint32 // wishReset and the others
	woken     [2]wakening   // by loop.Side: what ended the wait, if not readiness; whoever ends it says so before
	phases    [2]phase      // by loop.Side: what the server's limits see in the waits; protected by the turn of the side
	network   network
	unserved  bool // it has no handler: it ends with Close

	mu     sync.Mutex
	places *[]*linePlace // in line for a turn; nil: nobody ever was

	local net.Addr

	prev, next *Conn // in run.conns; protected by run.mu
}

// What the user has wished for, or the server.
const (
	wishReset    uint32 = 1 << iota // SetLinger(0), or output was dropped: the close is to be a reset
	wishNoWrites                    // CloseWrite has been called
	wishClose                       // somebody is about to close it in order
	wishBusy                        // SetBusy: it is not idle, though it may wait for something new
	wishLeave                       // it is its turn to end, of those that Shutdown ends one by one
)

// linePlace is one in the line for the turn of a side.
type linePlace struct {
	side     loop.Side
	waiter   waiter // a call that waits, or:
	queue    bool   // the queue, with so many
	messages int
	denied   error // why the call is woken without the turn, or nil
}

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr {
	if peer := c.sock.Peer(); peer.IsValid() {
		return net.TCPAddrFromAddrPort(peer)
	}
	if x := c.extra.Load(); x != nil && x.remote != nil {
		return x.remote
	}
	return unnamed
}

// unnamed is the address of an end of a unix socket that is bound to none, as package net has it.
var unnamed = &net.UnixAddr{Name: "@", Net: "unix"}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// Close sends what Write has gathered, as far as the kernel takes it at once, and closes the connection. Every call that
// waits on it returns net.ErrClosed. What was written is delivered: if the peer is still sending, what it sends is dropped for
// half a second or a megabyte before the descriptor is closed, for the kernel's answer to it would be a reset. What was enqueued is
// delivered too, within five seconds or as long as Shutdown waits; if the peer has not taken it by then, or a Write that came before
// is cut short, the connection is reset. (One of a unix socket ends: there are no resets.) Close waits for none of that. A second
// Close fails with net.ErrClosed.
func (c *Conn) Close() error {
	if c.closed.Load() {
		return c.opError("close", net.ErrClosed)
	}
	if !c.finish(net.ErrClosed) {
		return c.opError("close", net.ErrClosed)
	}
	return nil
}

// finish closes the connection in order, because of cause. It reports whether it was the first to do so: also if the peer, who
// sees the end of TLS before the connection is closed here, has made somebody else close it as well.
func (c *Conn) finish(cause error) bool {
	if c.wishes.Or(wishClose)&wishClose != 0 {
		return false
	}
	if c.endQueue() {
		c.dismissHelper() // the queue sends what is gathered first
	} else {
		c.flushNow()
	}
	c.end(true, cause)
	return true
}

// flushNow sends what is gathered, and the end of TLS, as far as it goes without waiting, unless somebody is writing.
func (c *Conn) flushNow() {
	turn := c.sock.Acquire(loop.WriteSide)
	if turn == loop.TurnBusy && c.dismissHelper() {
		turn = c.sock.Acquire(loop.WriteSide)
	}
	if turn == loop.TurnTaken {
		c.output.flushNow(c)
		c.unlock(loop.WriteSide)
	}
}

// shut closes the connection at once, because of cause, and drops what is queued. It reports whether it was the first to close it.
func (c *Conn) shut(cause error) bool {
	first := c.end(false, cause)
	if !first {
		c.closeQueue(true)
	}
	return first
}

func (c *Conn) end(linger bool, cause error) bool {
	if c.closed.Swap(true) {
		return false
	}
	c.cancelContext(cause)
	c.noteTraffic(false)
	// Whoever arms a side from now on sees closed afterwards, and does not wait.
	c.wakeWaiter(loop.ReadSide, byOther)
	c.wakeWaiter(loop.WriteSide, byOther)
	c.stopTimer()
	linger = linger && !c.resets()
	queued := c.closeQueue(!linger)
	if linger && !queued && !c.resets() { // there may have been a queue that has lost something
		c.sock.CloseLinger()
	} else {
		c.sock.Close()
	}
	c.dismissLine(cause)
	c.releaseWaiters()
	if c.unserved {
		c.depart()
	}
	return true
}

// resets reports whether the close of the connection is to be a reset.
func (c *Conn) resets() bool { return c.wishes.Load()&wishReset != 0 }

// depart is for a connection that is over, but for its queue.
func (c *Conn) depart() {
	c.mu.Lock()
	o := c.queue()
	if o != nil {
		o.departs = true
	}
	c.mu.Unlock()
	if o == nil {
		c.departed()
	}
}

func (c *Conn) departed() {
	c.run.remove(c)
	if c.unserved {
		c.sock.Loop().Unhold()
		c.run.engine.release()
	}
}

// unserve makes c a connection without a handler, which its loop and its engine last for until it is closed. The caller must
// have a lease of the engine.
func (c *Conn) unserve() {
	c.unserved = true
	c.sock.Loop().Hold()
	c.run.engine.lease()
}

// ReadReady is for the loop.
func (c *Conn) ReadReady() { c.waiting[loop.ReadSide].wake(c.sock.Loop()) }

// WriteReady is for the loop.
func (c *Conn) WriteReady() { c.wakeWriter(c.sock.Loop()) }

// wakeWriter wakes whoever waits for the write side; on is as in [waiter.wake].
func (c *Conn) wakeWriter(on *loop.Loop) {
	if w := &c.waiting[loop.WriteSide]; w.task != queueWaits {
		w.wake(on)
	} else {
		c.queueReady(on)
	}
}

// Kill is for the loop.
func (c *Conn) Kill() { c.shut(loop.ErrEngineClosed) }

// Hangup is for the loop.
func (c *Conn) Hangup() {
	if c.wishes.Load()&wishNoWrites != 0 {
		c.cancelContext(io.EOF)
	} else {
		c.cancelContext(syscall.ECONNRESET)
	}
}

// self returns the task that the caller is, if it is one that a loop may carry: blocking would block the loop.
func (c *Conn) self() *task {
	if c.task.isCaller() && c.task.isCoroutine() {
		return &c.task
	}
	return currentTask()
}

// wait parks the caller until side is ready. It reports whether it did wait; if not, the gate may be tried again. The
// caller must have the turn of side. It fails with net.ErrClosed or os.ErrDeadlineExceeded.
func (c *Conn) wait(side loop.Side) (waited bool, err error) {
	w, t := &c.waiting[side], c.self()
	w.prepare(t)
	if !c.sock.Arm(side) {
		if c.closed.Load() { // what lingers of it waits now
			return false, net.ErrClosed
		}
		return false, nil
	}
	if c.mustEnd(side) && c.sock.Disarm(side) {
		c.finish(ErrServerClosed)
		return false, net.ErrClosed
	}
	if c.hurried(side) && c.sock.Disarm(side) {
		return false, os.ErrDeadlineExceeded // what is left is kept
	}
	if c.run.timed {
		c.limitWait(side)
	}
	if c.deadlines.Load() != nil {
		if err := c.expired(side); err != nil && c.sock.Disarm(side) {
			return false, err
		}
		c.watchDeadline(side)
	}
	w.wait()
	if t != nil && w.task == nil {
		t.enterLane()
	}
	if c.closed.Load() {
		return true, net.ErrClosed
	}
	woken := c.woken[side] != byReadiness
	cancelled := c.woken[side] == byCancelling
	c.woken[side] = byReadiness
	if cancelled {
		return true, errCanceled
	}
	if woken && c.hurried(side) {
		return true, os.ErrDeadlineExceeded
	}
	if woken && c.run.timed {
		if err := c.limitOver(side); err != nil {
			return true, err
		}
	}
	if err := c.expired(side); err != nil {
		if !woken {
			// It was readiness that ended the wait, just before the deadline did. The next call must not wait for what has
			// come already.
			c.sock.Reopen(side)
		}
		return true, err
	}
	return !woken, nil
}

// mustEnd reports whether there is no point in waiting: the connection is closed, or its server is shutting down and
// nothing has come of the next request.
func (c *Conn) mustEnd(side loop.Side) bool {
	return c.closed.Load() || side == loop.ReadSide && c.leaves() && c.idle()
}

// endIfIdle closes the connection if its handler waits for the first byte of something new.
func (c *Conn) endIfIdle() {
	if c.idle() && c.sock.Disarm(loop.ReadSide) {
		c.finish(ErrServerClosed)
		c.waiting[loop.ReadSide].wake(nil)
	}
}

// lock takes the turn of side, waiting for those that came before. It fails with net.ErrClosed, or os.ErrDeadlineExceeded if it is
// a deadline that has closed the connection.
func (c *Conn) lock(side loop.Side) error {
	switch c.sock.Acquire(side) {
	case loop.TurnTaken:
		return nil
	case loop.TurnClosed:
		return net.ErrClosed
	}
	return c.queueFor(side)
}

func (c *Conn) queueFor(side loop.Side) error {
	c.mu.Lock()
	turn := c.sock.AcquireOrQueue(side)
	if turn != loop.TurnBusy {
		c.mu.Unlock()
		if turn == loop.TurnClosed {
			return net.ErrClosed
		}
		return nil
	}
	p := &linePlace{side: side}
	p.waiter.prepare(currentTask())
	c.joinLine(p)
	c.mu.Unlock()
	p.waiter.wait()
	if p.denied != nil {
		return p.denied
	}
	if c.closed.Load() {
		c.unlock(side)
		return net.ErrClosed
	}
	return nil
}

// unlock gives the turn of side to the next that waits for it.
func (c *Conn) unlock(side loop.Side) {
	if side == loop.WriteSide {
		c.phases[side] = phaseNone
	}
	for c.sock.Release(side) {
		if c.pass(side) {
			return
		}
	}
}

// opError gives err the form that package net gives the errors of a connection.
func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.network.String(), Source: c.local, Addr: c.RemoteAddr(), Err: err}
}

// isConnError reports whether err is about the connection and says nothing of the handler.
func isConnError(err error) bool {
	var errno syscall.Errno
	return errors.Is(err, net.ErrClosed) || errors.As(err, &errno)
}

// isDialled reports whether this end has made the connection.
func (c *Conn) isDialled() bool { return c.run == &c.run.engine.dialled }
