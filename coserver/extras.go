package coserver

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/strand-net/strand/coserver/frame"
)

// extras are what few connections have, so that the others need not make room for it.
type extras struct {
	remote *net.UnixAddr          // of a unix socket that was dialled
	helper atomic.Pointer[helper] // who has the write side for the handler, or nil

	takenOver atomic.Int64 // when the loop last went on without the handler, on its clock; 0 when that is back
	computes  atomic.Int32 // how sure it is, 0 to surelyComputes, that the handler computes when it takes long
	place     *place       // in the lane of handlers that compute, or nil; the task's own

	queue   *queueState                   // nil until something is enqueued; protected by the Conn's mu
	framing atomic.Pointer[frame.Framing] // of SetFraming, or nil
	part    part                          // of a message; protected by the turn of the read side

	mu     sync.Mutex
	ctx    context.Context // nil until it is asked for
	cancel context.CancelCauseFunc
	cause  error   // why the connection ended
	moved  traffic // what the observer will be told of that
	values map[any]any
	closed []*waiter // in Wait, until the connection is closed
}

// extras returns those of c, made if need be.
func (c *Conn) extras() *extras {
	if c.extra.Load() == nil {
		c.extra.CompareAndSwap(nil, new(extras))
	}
	return c.extra.Load()
}
