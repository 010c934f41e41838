package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/strand-net/strand/bench/control"
	"github.com/strand-net/strand/bench/result"
)

// Mark is a moment of a run at which the server is looked at, whatever the time is.
type Mark int

const (
	Before   Mark = iota // before the first connection
	Idle                 // at the end of settle
	Begin                // of the first window
	Boundary             // between two windows
	End                  // of the last one
)

// Options say what is watched. The process is found by PID, or asked for by Control, or both.
type Options struct {
	Name     string        // for the result: an engine's name; empty means what PID and Control say
	PID      int           // 0 means the one that answers at Control
	Control  string        // "unix:PATH" or "HOST:PORT" of the server's control socket; empty for none
	Interval time.Duration // between looks; 0 means 1 s

	// ProfileFor is how long a CPU profile is taken of the server, from the begin of the first window on, at most to the end of the last one. 0 means
	// none. It needs Control.
	ProfileFor time.Duration
}

// Watcher watches a server from a goroutine of its own. Mark and Latest never wait for it, nor for the server, so that a generator may
// call them from its hot path. All methods are safe from any goroutine.
type Watcher struct {
	options Options
	process *Process
	control *control.Client // nil for none
	ctx     context.Context
	cancel  context.CancelCauseFunc
	all     sync.WaitGroup
	profile sync.WaitGroup // that is being taken

	wake  chan struct{} // there is a mark
	ask   chan struct{} // there is a look without what the runtime knows
	ended chan struct{} // closed after the last look

	mu       sync.Mutex
	marks    []marked // that have not been looked for
	looks    []*look
	unasked  []*look
	err      error
	begun    time.Time // Begin
	stopped  bool
	profiled []byte

	profiling context.Context         // done when the profile has come; both are set when it is begun
	giveUp    context.CancelCauseFunc // the profile
}

type marked struct {
	mark Mark
	done chan struct{} // closed after the look
}

// look is a sample, with its time instead of At.
type look struct {
	when   time.Time
	marks  []Mark
	sample result.Sample
}

var errStopped = errors.New("watch: stopped")

// Start begins to watch. Stop must be called, also when ctx is done.
func Start(ctx context.Context, o Options) (*Watcher, error) {
	switch {
	case o.PID < 0:
		return nil, fmt.Errorf("watch: pid: %d is negative", o.PID)
	case o.PID == 0 && o.Control == "":
		return nil, errors.New("watch: neither a process nor a control socket is named")
	case o.ProfileFor < 0 || o.ProfileFor > control.MaxProfile:
		return nil, fmt.Errorf("watch: profile: %v is not between 0 and %v", o.ProfileFor, control.MaxProfile)
	case o.ProfileFor > 0 && o.Control == "":
		return nil, errors.New("watch: profile: only a server with a control socket can be asked for one")
	case o.Interval < 0:
		return nil, fmt.Errorf("watch: interval: %v is negative", o.Interval)
	case o.Interval == 0:
		o.Interval = time.Second
	}
	w := &Watcher{options: o, wake: make(chan struct{}, 1), ask: make(chan struct{}, 1), ended: make(chan struct{})}
	if o.Control != "" {
		var err error
		if w.control, err = control.NewClient(o.Control); err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		asking, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("no answer within %v", startPatience))
		state, err := w.control.State(asking)
		cancel()
		if err == nil && o.PID != 0 && o.PID != state.PID {
			err = fmt.Errorf("process %d answers at %s, and not process %d", state.PID, o.Control, o.PID)
		}
		if err != nil {
			w.control.Close()
			return nil, fmt.Errorf("watch: %w", err)
		}
		w.options.PID = state.PID
	}
	var err error
	if w.process, err = Find(w.options.PID); err != nil {
		if w.control != nil {
			w.control.Close()
		}
		return nil, fmt.Errorf("watch: %w", err)
	}
	if w.options.Name == "" {
		w.options.Name = fmt.Sprintf("process %d", w.options.PID)
		if name, err := w.process.p.Name(); err == nil {
			w.options.Name = name
		}
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.all.Go(w.run)
	if w.control != nil {
		w.all.Go(w.runtime)
	}
	return w, nil
}

// PID is the id of the process that is watched.
func (w *Watcher) PID() int { return w.options.PID }

// Mark has the server looked at as soon as may be, and returns at once.
func (w *Watcher) Mark(m Mark) { w.request(m) }

// Look is Mark, and waits until the look has been taken. The runtime's figures may come later. It fails if ctx or the watcher ends before.
func (w *Watcher) Look(ctx context.Context, m Mark) error {
	done := w.request(m)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err != nil {
			return w.err
		}
		return context.Cause(w.ctx)
	}
}

func (w *Watcher) request(m Mark) <-chan struct{} {
	now := time.Now()
	r := marked{mark: m, done: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return r.done
	}
	if m == Begin && w.begun.IsZero() {
		w.begun = now
		if w.options.ProfileFor > 0 {
			w.profiling, w.giveUp = context.WithCancelCause(w.ctx)
			w.profile.Go(w.takeProfile)
		}
	}
	if m == End && w.giveUp != nil {
		w.profile.Go(w.endProfile)
	}
	w.marks = append(w.marks, r)
	signal(w.wake)
	return r.done
}

// signal wakes whoever waits for c, now or later.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has been told already
	}
}

// Latest is the last look that was taken; nil before the first. Its At counts from Begin, or is 0 before that. It has the runtime's figures
// if they have come.
func (w *Watcher) Latest() *result.Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.looks) == 0 {
		return nil
	}
	s := w.looks[len(w.looks)-1].at(w.begun)
	return &s
}

// at is the sample, with its time since begun.
func (l *look) at(begun time.Time) result.Sample {
	s := l.sample
	if !begun.IsZero() {
		s.At = l.when.Sub(begun).Seconds()
	}
	return s
}

// run looks at the process until the end of the watcher or that of the process.
func (w *Watcher) run() {
	defer close(w.ended)
	ticker := time.NewTicker(w.options.Interval)
	defer ticker.Stop()
	for {
		if err := w.look(); err != nil {
			w.mu.Lock()
			w.err = fmt.Errorf("watch: %w", err)
			w.mu.Unlock()
			w.cancel(err)
			return
		}
		select {
		case <-ticker.C:
		case <-w.wake:
		case <-w.ctx.Done():
			// A mark that was set before the end is looked for: End comes just before Stop.
			w.mu.Lock()
			due := len(w.marks) > 0
			w.mu.Unlock()
			if due {
				_ = w.look() // an error is that of a process that has ended meanwhile, and the mark is without a look
			}
			return
		}
	}
}

// look takes one look, for all marks that are due.
func (w *Watcher) look() error {
	w.mu.Lock()
	due := w.marks
	w.marks = nil
	w.mu.Unlock()
	l := &look{when: time.Now()}
	for _, r := range due {
		l.marks = append(l.marks, r.mark)
	}
	var err error
	if l.sample, err = w.process.Sample(len(due) > 0); err != nil {
		return err
	}
	w.mu.Lock()
	w.looks = append(w.looks, l)
	if w.control != nil {
		w.unasked = append(w.unasked, l)
	}
	w.mu.Unlock()
	signal(w.ask)
	for _, r := range due {
		close(r.done)
	}
	return nil
}

// runtime asks the server for what its runtime knows, after each look. One that is slow to answer does not hold up the looks, and gives one
// answer for all that have been taken meanwhile.
func (w *Watcher) runtime() {
	for {
		select {
		case <-w.ask:
			w.askRuntime()
		case <-w.ended:
			w.askRuntime()
			return
		}
	}
}

// patience is how long the server may take to tell what its runtime knows. The process may be stopped.
const patience = time.Second

// startPatience is how long it may take at first: without an answer there is nothing to watch.
const startPatience = 5 * time.Second

// askRuntime does not end with the watcher: the last looks matter most, and they are taken then.
func (w *Watcher) askRuntime() {
	w.mu.Lock()
	due := w.unasked
	w.unasked = nil
	w.mu.Unlock()
	if len(due) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), patience)
	defer cancel()
	state, err := w.control.State(ctx)
	if err != nil {
		return // a field that could not be found out stays empty
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range due {
		l.sample.Runtime = &state.Runtime
	}
}

func (w *Watcher) takeProfile() {
	profile, err := w.control.Profile(w.profiling, w.options.ProfileFor)
	w.giveUp(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.profiled = profile
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("watch: %w", err)
	}
}

// endProfile has the server tell what it has by now.
func (w *Watcher) endProfile() {
	for {
		ctx, cancel := context.WithTimeout(w.profiling, patience)
		err := w.control.EndProfile(ctx)
		cancel()
		if err != nil {
			w.giveUp(err)
		}
		select {
		case <-w.profiling.Done():
			return
		case <-time.After(patience / 10): // it may not have begun when it was asked to end
		}
	}
}

// Stop ends the watcher, and returns what it has seen. The error says why it saw no more from some moment on: it is that of a process that
// has ended. A profile that is being taken is waited for.
func (w *Watcher) Stop() (*Outcome, error) {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.profile.Wait()
	w.cancel(errStopped)
	w.all.Wait()
	if w.control != nil {
		w.control.Close()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.outcome(), w.err
}
