package coserver

import (
	"context"
	"net"
)

// Context returns a context that is cancelled when the connection ends, whether a call waits for it or not. context.Cause
// then says why: with what its handler returned or panicked with, net.ErrClosed after Close, ErrServerClosed when the server
// ended it, ECONNRESET when the peer did, or io.EOF when both ends have sent their last byte. A peer that has only sent its own has
// not ended it.
// Safe from any goroutine.
func (c *Conn) Context() context.Context {
	x := c.extras()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ctx == nil {
		x.ctx, x.cancel = context.WithCancelCause(context.Background())
		if x.cause == nil && c.closed.Load() { // it ended before there were extras to keep the cause
			x.cause = net.ErrClosed
		}
		if x.cause != nil {
			x.cancel(x.cause)
		}
	}
	return x.ctx
}

// ServerContext returns a context that is cancelled when the connection's server begins to end, by Shutdown or Close, with the cause
// ErrServerClosed: for a handler that waits for something else than its connection (as in Sleep), and would keep Shutdown
// waiting. The connection is not ended by that. Without a Server it is context.Background(). Safe from any goroutine.
func (c *Conn) ServerContext() context.Context {
	if c.run.ctx == nil {
		return context.Background()
	}
	return c.run.ctx
}

// cancelContext ends the context because of cause, if it is the first.
func (c *Conn) cancelContext(cause error) {
	x := c.extra.Load()
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause == nil {
		x.cause = cause
	}
	if x.ctx != nil {
		x.cancel(cause)
	}
}

// Set keeps a value for as long as the connection lives: what a handler wants to find again wherever it has the Conn. As in
// package context, keys should have a type of their own; a nil value removes the key. Safe from any goroutine.
func (c *Conn) Set(key, value any) {
	x := c.extras()
	x.mu.Lock()
	defer x.mu.Unlock()
	if value == nil {
		delete(x.values, key)
		return
	}
	if x.values == nil {
		x.values = make(map[any]any)
	}
	x.values[key] = value
}

// Get returns the value that Set has kept for key, or nil. Safe from any goroutine.
func (c *Conn) Get(key any) any {
	x := c.extra.Load()
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.values[key]
}
