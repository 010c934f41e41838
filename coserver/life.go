package coserver

import (
	"context"
	"sync"
	"sync/atomic"
)

// life is how a server comes to its end: what is common to one of connections and one of datagrams.
type life struct {
	finished atomic.Bool // or somebody is about to finish it

	mu     sync.Mutex
	count  int           // what is served: connections, or sessions
	inside int           // handlers that wait in Shutdown
	quiet  chan struct{} // closed when all others have returned; nil if there are none
	ending bool          // nothing is taken in any more
	idle   chan struct{} // closed when ending and the last handler has returned
	over   chan struct{} // closed when Shutdown or Close has done all that it will do
}

func (l *life) begin() { l.idle, l.over = make(chan struct{}), make(chan struct{}) }

// left counts one less. The caller must have mu.
func (l *life) left() {
	l.count--
	if l.ending && l.count == 0 {
		close(l.idle)
	}
	l.settle()
}

// end takes nothing in any more. The caller must have mu, and must be the first.
func (l *life) end() {
	l.ending = true
	if l.count == 0 {
		close(l.idle)
	}
}

// await waits until the last handler has returned and the life is over, or, if the caller is a handler itself, until all have but
// those that wait here. It fails with the error of ctx, or with ErrServerClosed if somebody else has ended the life by force.
func (l *life) await(ctx context.Context, isHandler bool) error {
	if isHandler {
		quiet := l.enter()
		err := waitFor(ctx, quiet, l.over)
		l.leave(quiet)
		return err
	}
	if err := waitFor(ctx, l.idle, l.over); err != nil {
		return err
	}
	_ = waitFor(ctx, l.over, l.over) // nothing is left that could hold it up for long
	return nil
}

// enter is for a handler. It returns what is closed when all others have returned.
func (l *life) enter() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quiet == nil {
		l.quiet = make(chan struct{})
	}
	quiet := l.quiet
	l.inside++
	l.settle()
	return quiet
}

// leave undoes enter for a handler that waits no longer, if it has not been undone.
func (l *life) leave(quiet chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.quiet == quiet {
		l.inside--
	}
}

// settle lets the handlers go that wait for all others, if these have returned. The caller must have mu.
func (l *life) settle() {
	if l.quiet != nil && l.inside > 0 && l.count <= l.inside {
		close(l.quiet)
		l.quiet, l.inside = nil, 0
	}
}

// finishWhenIdle calls finish when the last handler has returned, unless somebody else has finished by force.
func (l *life) finishWhenIdle(finish func(forced bool)) {
	select {
	case <-l.idle:
		finish(false)
	case <-l.over:
	}
}

// finish ends the life, if nobody has yet, and closes engine unless that is nil. By force it waits for nothing: a handler may go on, which
// the engine has to wait for, and the caller may be on one of its loops.
func (l *life) finish(engine *Engine, forced bool) {
	if l.finished.Swap(true) {
		return
	}
	switch {
	case engine != nil && forced:
		go engine.Close()
	case engine != nil:
		engine.Close()
	}
	close(l.over)
}

// ownEngine returns the engine if it is the server's own.
func ownEngine(engine *Engine, owns bool) *Engine {
	if owns {
		return engine
	}
	return nil
}
