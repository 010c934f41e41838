package coserver

import (
	"context"
	"time"
)

// What a run that ends does with connections that wait for the first byte of something new.
const (
	drainNone   uint32 = iota
	drainMarked        // those that are marked end, now or when they come to wait
	drainAll           // all do
)

// RegisterOnShutdown has Shutdown call f, on a goroutine of its own, as http.Server has: to tell those whom the server does not
// know of. (Handlers have [Conn.ServerContext].) Shutdown does not wait for f. f is called once for each time that the server is shut
// down. Safe from any goroutine.
func (s *Server) RegisterOnShutdown(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onShutdown = append(s.onShutdown, f)
}

// Shutdown ends the server in order: new clients are refused from now on; connections whose handlers wait for the first byte
// of something new are closed, now or when they come to wait, or, with DrainRate, so many a second; the others finish, and those
// that wait for something else are told by their [Conn.ServerContext]. It returns nil when the last handler has returned and what was
// enqueued is sent. If ctx is done first, it closes what is left, as Close does, and returns the error of ctx; if somebody else has done so meanwhile,
// ErrServerClosed. It is safe from any goroutine, any number of times.
//
// A handler of the server's may call it too, on its own goroutine: then it returns when all handlers have that do not wait in
// Shutdown themselves, and the server ends when these have returned as well. (Where a handler cannot tell its own goroutine, on
// other machines than amd64 and arm64, it waits for itself, until ctx is done.) On a server that is not started Shutdown
// does nothing.
func (s *Server) Shutdown(ctx context.Context) error {
	r := s.current()
	if r == nil {
		return nil
	}
	if r.end() {
		go r.finishWhenIdle(r.finish)
	}
	if r.draining.CompareAndSwap(drainNone, drainMarked) {
		r.tell(ErrServerClosed)
		s.notifyShutdown()
		r.drain(s.DrainRate)
	}
	err := r.await(ctx, r.isHandler())
	if err != nil {
		r.force()
	}
	return err
}

// Close ends the server at once: the listeners and all connections are closed, and their handlers' calls fail with net.ErrClosed.
// It does not wait for the handlers, and a Shutdown that does waits no longer. It is safe from any goroutine, also from a handler,
// any number of times. On a server that is not started it does nothing.
func (s *Server) Close() error {
	if r := s.current(); r != nil {
		r.end()
		r.force()
	}
	return nil
}

func (s *Server) notifyShutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.onShutdown {
		go f()
	}
}

// drain ends the connections that wait for something new, perSecond of them in a second, or all at once if that is 0.
func (r *run) drain(perSecond int) {
	if perSecond == 0 {
		r.draining.Store(drainAll)
		r.each((*Conn).endIfIdle)
		return
	}
	go r.drainSlowly(perSecond)
}

// drainSlowly marks one connection after the other, no more of them than the time that has passed allows: none that comes is left out,
// for none comes any more. Those that are busy count as well, and end when they come to wait.
func (r *run) drainSlowly(perSecond int) {
	var conns []*Conn
	r.each(func(c *Conn) { conns = append(conns, c) })
	begin := time.Now()
	step := max(time.Second/time.Duration(perSecond), minDrainStep)
	timer := time.NewTimer(step)
	defer timer.Stop()
	for ended := 0; ; timer.Reset(step) {
		for due := 1 + int(time.Since(begin).Seconds()*float64(perSecond)); ended < due; {
			if len(conns) == 0 {
				r.draining.Store(drainAll)
				return
			}
			c := conns[0]
			conns = conns[1:]
			if c.closed.Load() {
				continue
			}
			ended++
			c.wishes.Or(wishLeave)
			c.endIfIdle()
		}
		select {
		case <-r.idle:
			return
		case <-timer.C:
		}
	}
}

// minDrainStep is how long drainSlowly sleeps at least.
const minDrainStep = 5 * time.Millisecond

// leaves reports whether the connection is to end when it waits for something new.
func (c *Conn) leaves() bool {
	draining := c.run.draining.Load()
	return draining == drainAll || draining == drainMarked && c.wishes.Load()&wishLeave != 0
}

// isHandler reports whether the caller is a handler of r.
func (r *run) isHandler() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := r.conns; c != nil; c = c.next {
		if c.task.isCaller() {
			return true
		}
	}
	return false
}

// force closes what is left, and ends the life without waiting for the handlers.
func (r *run) force() {
	r.tell(ErrServerClosed)
	r.each(func(c *Conn) { c.shut(ErrServerClosed) })
	r.finish(true)
}

// waitFor waits for ch to be closed, without holding up the loop that the caller may be on. It fails with the error of ctx, or with
// ErrServerClosed if over is closed and ch is not.
func waitFor(ctx context.Context, ch, over <-chan struct{}) error {
	wait := func() error {
		err := ErrServerClosed
		select {
		case <-ch:
		case <-over:
		case <-ctx.Done():
			err = ctx.Err()
		}
		select {
		case <-ch:
			return nil
		default:
			return err
		}
	}
	if currentTask() == nil {
		return wait()
	}
	var done notice
	var err error
	go func() {
		err = wait()
		done.give()
	}()
	done.wait()
	return err
}
