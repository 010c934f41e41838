package coserver

import (
	"errors"
	"runtime"
	"sync"
)

// Offload runs f where it may block or compute as long as it likes, on a goroutine of the engine's pool, and returns when f has.
// A handler that a loop carries is parked meanwhile, and its loop goes on; whoever else calls it runs f itself. A panic or a
// runtime.Goexit in f is the caller's. It fails with ErrTooManyGoroutines, and has not run f then.
func Offload(f func()) error {
	t := currentTask()
	if t == nil {
		f()
		return nil
	}
	w := &work{do: func() error { f(); return nil }}
	if err := t.reactor.engine.spawn(t.labelled(w.run)); err != nil {
		return err
	}
	return w.wait()
}

// Group runs several functions at the same time and waits for them all: what a handler asks of several connections, say. The zero
// value is ready to use. Functions that a handler starts with Go run on its own loop, one at a time, so they need no lock between
// them; those that block or compute belong in Offload. Its methods are safe from any goroutine.
type Group struct {
	mu    sync.Mutex
	works []*work
}

// Go begins f as a task of its own: beside the calling handler on the same loop, if a loop carries that, or else on a goroutine. f
// may wait in calls on any Conn.
func (g *Group) Go(f func() error) {
	w := g.add(f)
	beside(currentTask(), w.run)
}

// Offload begins f on a goroutine of the pool of the calling handler's engine. For a caller that is no handler's, or if there is
// none left, it is the go statement.
func (g *Group) Offload(f func() error) {
	w := g.add(f)
	if t := currentTask(); t == nil || t.reactor.engine.spawn(t.labelled(w.run)) != nil {
		go w.run()
	}
}

func (g *Group) add(f func() error) *work {
	w := &work{do: f}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.works = append(g.works, w)
	return w
}

// Wait returns when all functions have that were begun, with their errors joined in the order of their beginning. A handler is
// parked meanwhile. A panic or a runtime.Goexit of one of them is the caller's, when all are over.
func (g *Group) Wait() error {
	g.mu.Lock()
	works := g.works
	g.works = nil
	g.mu.Unlock()
	for _, w := range works {
		w.over.wait()
	}
	errs := make([]error, len(works))
	for i, w := range works {
		errs[i] = w.wait()
	}
	return errors.Join(errs...)
}

// work is what somebody else does for its caller.
type work struct {
	do       func() error
	over     notice
	err      error
	returned bool
	panicked any
}

func (w *work) run() {
	defer func() {
		if !w.returned {
			w.panicked = recover()
		}
		w.over.give()
	}()
	w.err = w.do()
	w.returned = true
}

// wait returns when the work is done, the way that it ended.
func (w *work) wait() error {
	w.over.wait()
	switch {
	case w.panicked != nil:
		panic(w.panicked)
	case !w.returned:
		runtime.Goexit()
	}
	return w.err
}
