package loop

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// ErrQueueFull is returned by a Write that would exceed Service.MaxQueued. Nothing of it was taken.
var ErrQueueFull = errors.New("loop: output queue full")

const (
	// readBudget is how much one connection may be served in one turn before the others have theirs, in bytes.
	readBudget = 256 << 10

	// lingerTime is how long a Close waits for the peer to take what is queued, in nanoseconds.
	lingerTime = 5e9
)

// Conn is a connection of the callback API. Its methods are safe from any goroutine.
type Conn struct {
	socket  Socket
	service *Service
	local   *Listener
	value   atomic.Pointer[any]

	mu      sync.Mutex
	out     output
	calling bool        // a callback is running: what it writes goes out together when it returns
	posted  bool        // the loop will flush
	closing atomic.Bool // no Write is taken any more; the socket closes when out is empty. Set with mu held.
	cause   error       // what OnClose will be told
	cut     bool        // the socket is closed at once, whatever is on its way

	paused atomic.Bool

	// Loop goroutine only.
	high   bool // the output is above the high-water mark, and the handler has been told
	ended  bool // OnClose has been called
	eof    bool // the peer has sent its last byte
	linger Timer
}

// Loop returns the loop that runs the connection's callbacks.
func (c *Conn) Loop() *Loop { return c.socket.loop }

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr {
	if peer := c.socket.Peer(); peer.IsValid() {
		return net.TCPAddrFromAddrPort(peer)
	}
	return &net.UnixAddr{Name: "@", Net: c.local.addr.Network()} // as package net has it for a peer without a name
}

// LocalAddr returns the address of this end, or the listener's when the connection is closed.
func (c *Conn) LocalAddr() net.Addr {
	if local := c.socket.LocalAddr(); local.IsValid() {
		return net.TCPAddrFromAddrPort(local)
	}
	return c.local.addr
}

// SetValue keeps any value with the connection, and Value returns it.
func (c *Conn) SetValue(v any) { c.value.Store(&v) }

// Value returns what SetValue has kept, or nil.
func (c *Conn) Value() any {
	if v := c.value.Load(); v != nil {
		return *v
	}
	return nil
}

// Pause stops reading: after the callback that is running no OnData comes until Resume. What the peer sends meanwhile
// stays in the kernel, which makes the peer wait when it is full.
func (c *Conn) Pause() { c.paused.Store(true) }

// Resume goes on reading after Pause.
func (c *Conn) Resume() {
	if c.paused.Swap(false) {
		c.socket.loop.Post((*reading)(c))
	}
}

// Close ends the connection when the queued output is sent, or after five seconds if the peer does not take it. Output
// that the kernel has taken is delivered, also if the peer is still sending. OnClose follows. It fails with net.ErrClosed the second time.
func (c *Conn) Close() error { return c.end(nil, false) }

// CloseNow ends the connection and drops what is queued. OnClose follows. It fails with net.ErrClosed the second time.
func (c *Conn) CloseNow() error { return c.end(nil, true) }

func (c *Conn) end(cause error, now bool) error {
	c.mu.Lock()
	again := c.closing.Swap(true)
	if !again {
		c.cause = cause
	}
	if now {
		c.cut = true
		c.out.drop()
	}
	c.mu.Unlock()
	if again && !now {
		return net.ErrClosed
	}
	c.socket.loop.Post((*ending)(c))
	if again {
		return net.ErrClosed
	}
	return nil
}

func (c *Conn) opened() {
	c.callback(func() { c.service.Handler.OnOpen(c) })
	c.pump(false)
}

// Hangup is for the loop. Reading tells how the connection ended, in its order.
func (c *Conn) Hangup() {}

// Kill is for the loop.
func (c *Conn) Kill() { _ = c.end(ErrEngineClosed, true) }

// ReadReady is for the loop.
func (c *Conn) ReadReady() { c.pump(true) }

// pump reads and calls back until there is no more, or until this connection has had its share. known says that a
// read is worth while without asking the gate.
func (c *Conn) pump(known bool) {
	s := &c.socket
	for budget := readBudget; ; known = false {
		if c.paused.Load() || c.eof || c.closing.Load() {
			if known {
				s.Reopen(ReadSide)
			}
			return
		}
		if !known && !s.Take(ReadSide) {
			if s.Arm(ReadSide) || s.Waited(ReadSide) { // it waits already if it was resumed with nothing to read
				return
			}
			continue
		}
		if budget <= 0 {
			s.Reopen(ReadSide)
			s.loop.Requeue((*reading)(c))
			return
		}
		n, err := s.Recv(s.loop.scratch)
		switch {
		case n > 0:
			budget -= n
			data := s.loop.scratch[:n]
			c.callback(func() { c.service.Handler.OnData(c, data) })
		case err == ErrNotReady:
		case err == io.EOF:
			c.eof = true
			if handler, ok := c.service.Handler.(EOFHandler); ok {
				c.callback(func() { handler.OnEOF(c) })
			} else {
				_ = c.end(io.EOF, false)
			}
			return
		default:
			_ = c.end(err, true)
			return
		}
	}
}

// callback calls the handler. What it writes goes out together afterwards; a panic or a Goexit in it ends the
// connection, and nothing else.
func (c *Conn) callback(call func()) {
	c.mu.Lock()
	c.calling = true
	c.out.borrow(c.socket.loop)
	c.mu.Unlock()
	returned := false
	defer func() {
		if !returned {
			c.failed(recover())
		}
		c.mu.Lock()
		c.calling = false
		c.flush()
	}()
	call()
	returned = true
}

func (c *Conn) failed(reason any) {
	if reason == nil {
		reason = "runtime.Goexit"
	}
	c.socket.loop.engine.logger.Error("callback panicked", slog.String("local", c.LocalAddr().String()),
		slog.String("remote", c.RemoteAddr().String()), slog.Any("panic", reason), slog.String("stack", string(debug.Stack())))
	_ = c.end(fmt.Errorf("loop: callback panicked: %v", reason), true)
}

// reading, flushing and ending are a Conn posted to its loop for one purpose.
type (
	reading  Conn
	flushing Conn
	ending   Conn
)

func (r *reading) RunOnLoop() { (*Conn)(r).pump(false) }

func (f *flushing) RunOnLoop() {
	c := (*Conn)(f)
	c.socket.loop.flushes.add(c)
}

func (e *ending) RunOnLoop() {
	c := (*Conn)(e)
	if c.ended {
		return
	}
	if c.linger.place == 0 {
		c.socket.loop.SetTimer(&c.linger, c.socket.loop.Now()+lingerTime, (*lingered)(c))
	}
	c.mu.Lock()
	c.flush()
}

type lingered Conn

func (t *lingered) RunOnLoop() {
	c := (*Conn)(t)
	c.mu.Lock()
	c.out.drop()
	c.flush()
}

// finish closes the socket and tells the handler. Loop goroutine only.
func (c *Conn) finish() {
	if c.ended {
		return
	}
	c.ended = true
	c.socket.loop.StopTimer(&c.linger)
	c.mu.Lock()
	cause, cut := c.cause, c.cut
	c.mu.Unlock()
	if cut {
		c.socket.Close()
	} else {
		c.socket.CloseLinger()
	}
	c.callback(func() { c.service.Handler.OnClose(c, cause) })
}
