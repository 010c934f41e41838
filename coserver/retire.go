package coserver

import (
	"context"
	"net"
)

// Retire is for a server whose listening sockets another process serves from now on: it ends this one without ending a
// connection. It stops listening, but every connection that it has taken from the kernel gets its handler, and all of them
// go on, also idle ones, until their handlers return by themselves. It returns nil when the last has; the server is then ended, and
// Serve returns. If ctx is done first, it returns the error of ctx, and what is left goes on: Shutdown or Close ends it, and until
// then Listen and Adopt fail with ErrServerClosed. If Shutdown or Close ends connections meanwhile, it goes on waiting, or fails with
// ErrServerClosed. Whom RegisterOnShutdown has to be called is told by Shutdown alone.
//
// It is safe from any goroutine, any number of times, and from a handler as Shutdown is. On a server that is not started it does
// nothing. Sockets of ReusePort are this process's own, and whoever waits in their queues is lost when they are closed.
func (s *Server) Retire(ctx context.Context) error {
	r := s.current()
	if r == nil {
		return nil
	}
	for _, ln := range r.retire() {
		if err := waitFor(ctx, ln.ln.Settled(), r.over); err != nil {
			return err
		}
	}
	if r.end() { // nobody is on the way any more, and so nobody is turned away
		go r.finishWhenIdle(r.finish)
	}
	return r.await(ctx, r.isHandler())
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
