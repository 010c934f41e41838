package coserver

import (
	"net"
	"syscall"
	"time"

	"github.com/strand-net/strand/loop"
)

// The options in this file may be set from any goroutine. They fail with a *net.OpError: net.ErrClosed after Close.

// SetNoDelay says whether small writes go out at once (TCP_NODELAY). It is on from the beginning.
func (c *Conn) SetNoDelay(noDelay bool) error { return c.setBoth(c.sock.SetNoDelay(noDelay)) }

// SetKeepAlive says whether an idle connection is probed. It is on from the beginning, as [net.KeepAliveConfig] describes.
func (c *Conn) SetKeepAlive(keepalive bool) error {
	return c.setBoth(c.sock.SetKeepAlive(net.KeepAliveConfig{Enable: keepalive, Idle: -1, Interval: -1, Count: -1}))
}

// SetKeepAlivePeriod has an idle connection probed after d, rounded up to seconds.
func (c *Conn) SetKeepAlivePeriod(d time.Duration) error {
	return c.setBoth(c.sock.SetKeepAlive(net.KeepAliveConfig{Enable: true, Idle: d, Interval: -1, Count: -1}))
}

// SetKeepAliveConfig says when an idle connection is probed.
func (c *Conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.setBoth(c.sock.SetKeepAlive(config))
}

// SetLinger says what becomes of what was written and has not been sent when the connection is closed: with a negative sec
// the kernel goes on sending it, with 0 it is dropped and the connection is reset, and otherwise it is dropped after so many
// seconds.
func (c *Conn) SetLinger(sec int) error {
	if sec == 0 {
		c.wishes.Or(wishReset)
	} else {
		c.wishes.And(^wishReset)
	}
	return c.setBoth(c.sock.SetLinger(sec))
}

// SetReadBuffer sets the size of the kernel's receive buffer, in bytes.
func (c *Conn) SetReadBuffer(bytes int) error { return c.set(c.sock.SetReadBuffer(bytes)) }

// SetWriteBuffer sets the size of the kernel's send buffer, in bytes.
func (c *Conn) SetWriteBuffer(bytes int) error { return c.set(c.sock.SetWriteBuffer(bytes)) }

func (c *Conn) set(err error) error { return c.localError("set", err) }

// setBoth is set for what package net takes to concern both ends.
func (c *Conn) setBoth(err error) error {
	if err == nil {
		return nil
	}
	return c.opError("set", err)
}

// localError gives err the form that package net gives the errors of what concerns this end alone.
func (c *Conn) localError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: c.network.String(), Addr: c.local, Err: err}
}

// SyscallConn gives access to the descriptor. Its Read and Write go past the Conn: they see no input that the Conn has read
// and not given out yet, and no output that it has gathered. It fails with net.ErrClosed after Close.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	if c.closed.Load() {
		return nil, c.localError("raw-control", net.ErrClosed)
	}
	return (*rawConn)(c), nil
}

// rawConn is a Conn as package syscall sees it.
type rawConn Conn

// Control calls f with the descriptor, which must not be closed or made blocking.
func (r *rawConn) Control(f func(fd uintptr)) error {
	c := (*Conn)(r)
	return c.localError("raw-control", c.sock.Control(f))
}

// Read calls f until it returns true, each time that the descriptor may have become readable.
func (r *rawConn) Read(f func(fd uintptr) (done bool)) error {
	return r.until(loop.ReadSide, "raw-read", f)
}

// Write calls f until it returns true, each time that the descriptor may have become writable.
func (r *rawConn) Write(f func(fd uintptr) (done bool)) error {
	return r.until(loop.WriteSide, "raw-write", f)
}

func (r *rawConn) until(side loop.Side, op string, f func(fd uintptr) bool) error {
	c := (*Conn)(r)
	if err := c.sock.Direct(); err != nil {
		return c.localError(op, err)
	}
	if err := c.lock(side); err != nil {
		return c.localError(op, err)
	}
	defer c.unlock(side)
	defer func() { c.phases[side] = phaseNone }()
	err := c.expired(side)
	for done := false; err == nil; {
		c.sock.Take(side)
		if err = c.sock.Control(func(fd uintptr) { done = f(fd) }); done {
			c.sock.Reopen(side) // f may have left something
			break
		}
		if err == nil {
			_, err = c.wait(side)
		}
	}
	return c.localError(op, err)
}
