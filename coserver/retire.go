package coserver

import (
	"context"
	"net"
)

// Retire is for a server whose listening sockets another process serves from now on: it ends this one without ending a
// connection. It stops listening, but every connection that it has taken from the kernel gets its handler, and all of them
// go on until their handlers return by themselves. Retire returns nil when the last has; the server is then ended, as by
// Shutdown. If ctx is done first it returns the error of ctx, and what is left goes on: Shutdown or Close ends it. Listen
// and Serve take no further listener meanwhile. It is safe from any goroutine, but must not be called from a handler, which it
// would wait for. On a server that is not started it does nothing.
func (s *Server) Retire(ctx context.Context) error {
	r := s.current()
	if r == nil {
		return nil
	}
	for _, ln := range r.retire() {
		select {
		case <-ln.ln.Settled():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-r.whenEmpty():
		return s.Shutdown(ctx) // which has nothing to wait for
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retire closes the listeners and returns them.
func (r *run) retire() []*Listener {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retiring = true
	for _, ln := range r.listeners {
		_ = ln.unbind() // closed before, perhaps
	}
	return r.listeners
}

// whenEmpty returns a channel that is closed when there is no connection.
func (r *run) whenEmpty() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.empty == nil {
		empty := make(chan struct{})
		if r.count == 0 {
			close(empty)
			return empty
		}
		r.empty = empty
	}
	return r.empty
}

// Retire stops listening, as Close does, but loses none of the connections that were taken from the kernel: Accept gives
// them out, and fails with net.ErrClosed when there is none left. It is for a listener whose socket another process has
// too. Close must still be called. It fails with net.ErrClosed after Close or Retire.
func (ln *Listener) Retire() error {
	ln.mu.Lock()
	if ln.closed || ln.retired {
		ln.mu.Unlock()
		return ln.opError("close", net.ErrClosed)
	}
	ln.retired = true
	ln.mu.Unlock()
	err := ln.unbind()
	go ln.settle()
	return err
}

// settle wakes those that wait in Accept when there will be nothing to wait for.
func (ln *Listener) settle() {
	<-ln.ln.Settled()
	ln.mu.Lock()
	ln.settled = true
	waiting := ln.waiting
	ln.waiting = nil
	ln.mu.Unlock()
	for _, w := range waiting {
		w.wake(nil)
	}
}
