package sys

import (
	"context"
	"net"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"
)

const (
	// netBuffer is how many bytes a connection of Net keeps at most, and smallNetBuffer how many while it is idle, in each direction;
	// the operating system keeps more.
	netBuffer      = 64 << 10
	smallNetBuffer = 4 << 10

	// netLinger is how long what has been sent before a close may take to leave.
	netLinger = 30 * time.Second

	// netReadShut is how long input that has arrived may take to be read, once nobody is to wait for more: on some systems a read in
	// progress does not learn that the direction has ended.
	netReadShut = 50 * time.Millisecond
)

// netConn is a connection: one goroutine reads what comes, as long as there is room, and another writes what is to go, while there
// is any.
type netConn struct {
	mu      sync.Mutex
	conn    net.Conn // nil until it is made
	watcher Watcher
	closed  bool
	failed  syscall.Errno // what has ended the connection
	told    bool          // a call has returned that

	cancel func() // ends the attempt to connect; nil: there is none

	in     netInput
	out    netOutput
	linger int // SO_LINGER's seconds, negative: off
}

// newNetConn takes a connection that is made, or nil.
func newNetConn(conn net.Conn) *netConn {
	c := &netConn{conn: conn, linger: -1}
	c.in.room.L, c.out.wake.L = &c.mu, &c.mu
	c.in.limit, c.out.limit = netBuffer, netBuffer
	return c
}

// start reads from a connection that is made.
func (c *netConn) start() { go unlabelled(c.read) }

// unlabelled runs do, which goes on for long, without the labels of whoever began it (pprof.Do): they would count for that one.
func unlabelled(do func()) {
	pprof.SetGoroutineLabels(context.Background())
	do()
}

// tell tells the watcher. The caller has mu.
func (c *netConn) tell(what Condition) {
	if c.watcher != nil {
		c.watcher.Ready(what)
	}
}

func (c *netConn) watch(w Watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watcher = w
	if holds := c.holds(); holds != 0 {
		c.tell(holds)
	}
}

// holds is what holds now. The caller has mu.
func (c *netConn) holds() (holds Condition) {
	if c.failed != 0 {
		return Readable | Writable | ReadClosed | Closed
	}
	if c.conn == nil || c.closed {
		return 0
	}
	if c.in.unread() > 0 {
		holds |= Readable
	}
	if c.in.ended {
		holds |= Readable | ReadClosed
	}
	if c.out.room() > 0 {
		holds |= Writable
	}
	if c.in.ended && c.out.shut {
		holds |= Writable | Closed
	}
	return holds
}

// fail ends the connection. The caller has mu.
func (c *netConn) fail(errno syscall.Errno) {
	if c.failed == 0 {
		c.failed = errno
	}
	c.out.drop()
	c.in.room.Signal()
	c.out.wake.Signal()
	c.tell(c.holds())
}

// failure is the error of a call on a connection that has failed: the reason, once, and then what is to be said of one that is no more.
// The caller has mu.
func (c *netConn) failure(after syscall.Errno) syscall.Errno {
	if c.told {
		return after
	}
	c.told = true
	return c.failed
}

func (c *netConn) shutdown(how int) syscall.Errno {
	if how < ShutRead || how > ShutBoth {
		return syscall.EINVAL
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || c.failed != 0 {
		return syscall.ENOTCONN
	}
	if how != ShutWrite && !c.in.shut {
		c.in.shut = true
		if half, ok := c.conn.(interface{ CloseRead() error }); ok {
			_ = half.CloseRead() // if that has failed, the deadline ends the read
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(netReadShut))
		c.in.room.Signal()
	}
	if how != ShutRead && !c.out.shut {
		c.out.shut = true
		if !c.out.pending() {
			c.sendEnd()
		}
		c.tell(c.holds() &^ Readable)
	}
	return 0
}

// ended is what Kernel.Ended tells.
func (c *netConn) ended() (ended, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.ended || c.in.shut || c.failed != 0, c.failed != 0
}

// close lets go what is to be sent still; unless there is unread input, or the linger option says so, for then the peer gets a reset
// (RFC 1122, 4.2.2.13).
func (c *netConn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.watcher = true, nil
	c.in.room.Signal()
	c.out.wake.Signal()
	switch {
	case c.cancel != nil:
		c.cancel() // who connects closes what may come of it
	case c.conn == nil:
	case c.failed == 0 && (c.linger == 0 || c.in.unread() > 0):
		c.out.drop()
		reset(c.conn)
	case c.failed == 0 && c.out.pending():
		_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // what comes now is answered with a reset in the end
		_ = c.conn.SetWriteDeadline(time.Now().Add(netLinger))
	default:
		c.conn.Close()
	}
}

// refuse closes a connection that nobody has accepted.
func (c *netConn) refuse() {
	c.mu.Lock()
	c.linger = 0
	c.mu.Unlock()
	c.close()
}

func (c *netConn) localAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	return c.conn.LocalAddr()
}

func (c *netConn) raw() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	return c.conn
}
