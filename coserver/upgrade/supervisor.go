package upgrade

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	defaultMinPause     = 100 * time.Millisecond
	defaultMaxPause     = 30 * time.Second
	defaultHealthyAfter = 10 * time.Second
	defaultRetireLimit  = 5 * time.Minute
)

// Supervisor keeps a number of worker processes serving the same sockets: those of its Upgrader. A worker finds them by
// the same calls of Listen; all of them accept from one queue, which is there also while none of them is. One that ends by itself
// is started again. Workers must not outlive the supervisor: in theirs, Exit is closed when it is gone. What limits a server, such as
// coserver.Server.MaxConns, limits each worker.
//
// Fields must not be changed after Start.
type Supervisor struct {
	// Upgrader has the sockets, and its Options say what a worker is. Its Ready is for when Start has returned.
	Upgrader *Upgrader

	// Workers is how many there are.
	Workers int

	// MinPause is how long a worker that has ended is not started again. Each time it doubles, up to MaxPause; a worker
	// that has been ready for HealthyAfter begins with MinPause again. 0 means 100 ms, 30 s and 10 s.
	MinPause, MaxPause, HealthyAfter time.Duration

	// RetireLimit is how long a worker may take to end that Reload has replaced. Then it is killed. 0 means 5 minutes.
	RetireLimit time.Duration

	// Logger gets what happens to workers that nobody asked for. nil means slog.Default().
	Logger *slog.Logger

	mu        sync.Mutex
	reloading bool
	slots     []*slot // nil before Start
	stop      context.CancelFunc
	stopping  <-chan struct{}
	force     chan struct{} // closed when what is left is to be killed
	forceOnce sync.Once
	all       sync.WaitGroup // slots, and workers that are on their way out
}

func (s *Supervisor) fill() error {
	if s.Upgrader == nil {
		return errors.New("upgrade: Supervisor.Upgrader is nil")
	}
	if s.Workers < 1 {
		return fmt.Errorf("upgrade: Supervisor.Workers is %d, want 1 or more", s.Workers)
	}
	for _, d := range []struct {
		name   string
		value  *time.Duration
		preset time.Duration
	}{
		{"MinPause", &s.MinPause, defaultMinPause},
		{"MaxPause", &s.MaxPause, defaultMaxPause},
		{"HealthyAfter", &s.HealthyAfter, defaultHealthyAfter},
		{"RetireLimit", &s.RetireLimit, defaultRetireLimit},
	} {
		if *d.value < 0 {
			return fmt.Errorf("upgrade: Supervisor.%s is %v, want 0 or more", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.preset
		}
	}
	s.MaxPause = max(s.MaxPause, s.MinPause)
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	return nil
}

// Start starts the workers and returns when all are ready. If one does not become so, all are killed and awaited, and the error
// says what happened: whoever cannot start at all is not started again and again. It may be called once. It fails with
// errors.ErrUnsupported where the system has no such thing, and in a worker.
func (s *Supervisor) Start(ctx context.Context) error {
	if err := s.fill(); err != nil {
		return err
	}
	if !supported || s.Upgrader.IsWorker() {
		return fmt.Errorf("upgrade: supervisor: %w", errors.ErrUnsupported)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots != nil {
		return errors.New("upgrade: Supervisor.Start was called before")
	}
	first, err := s.startAll(ctx)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.Background())
	s.stop, s.stopping, s.force = stop, running.Done(), make(chan struct{})
	for i, c := range first {
		sl := &slot{supervisor: s, index: i, worker: c, since: time.Now(), reloads: make(chan reload)}
		s.slots = append(s.slots, sl)
		s.all.Go(func() { sl.run(running) })
	}
	return nil
}

// startAll starts one worker for each slot, all at once.
func (s *Supervisor) startAll(ctx context.Context) ([]*child, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers, errs := make([]*child, s.Workers), make([]error, s.Workers)
	var starting sync.WaitGroup
	for i := range workers {
		starting.Go(func() {
			if workers[i], errs[i] = s.begin(ctx); errs[i] != nil {
				cancel() // the others need not go on
			}
		})
	}
	starting.Wait()
	var failed error
	for i, err := range errs {
		if err != nil && (failed == nil || errors.Is(failed, context.Canceled)) {
			failed = fmt.Errorf("worker %d of %d: %w", i+1, s.Workers, err)
		}
	}
	if failed == nil {
		return workers, nil
	}
	for _, c := range workers {
		if c != nil {
			c.kill()
		}
	}
	return nil, failed
}

// begin starts a worker and waits until it is ready.
func (s *Supervisor) begin(ctx context.Context) (*child, error) {
	c, err := s.Upgrader.start(ctx, worker)
	if err != nil {
		return nil, err
	}
	if err := c.goOn(); err != nil {
		return nil, err
	}
	return c, nil
}

// Reload replaces the workers one after the other: a new one is started, and when it is ready the old one is told that it has been
// replaced. What that has begun it may finish, while the next is replaced. Reload returns when all workers are new. If one cannot be
// started, or ctx is done, it stops there with an error, and the workers that are left go on.
//
// It fails with ErrInProgress while another one is under way, with ErrNotReady before Start, and with ErrStopped after Stop.
// Safe from any goroutine.
func (s *Supervisor) Reload(ctx context.Context) error {
	if err := s.beginReload(); err != nil {
		return err
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reloading = false
	}()
	notify(reloading())
	defer func() {
		if s.Upgrader.Err() == nil {
			notify("READY=1")
		}
	}()
	for i, sl := range s.slots {
		r := reload{ctx: ctx, done: make(chan error, 1)}
		err := ErrStopped
		select {
		case sl.reloads <- r:
			err = <-r.done
		case <-s.stopping:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("worker %d of %d: %w", i+1, s.Workers, err)
		}
	}
	return nil
}

func (s *Supervisor) beginReload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.slots == nil:
		return ErrNotReady
	case s.isStopping():
		return ErrStopped
	case s.reloading:
		return ErrInProgress
	}
	s.reloading = true
	return nil
}

func (s *Supervisor) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// Stop closes the sockets, so that new clients are refused as soon as no worker listens, tells all workers to end (SIGTERM), and
// returns when the last one has. A service manager that sends SIGTERM to all processes of a service does so besides: to a worker a
// second one should mean nothing. If ctx is done first, Stop kills what is left, and returns the error of ctx when it is gone. A
// second call waits too. Before Start it does nothing. Safe from any goroutine.
func (s *Supervisor) Stop(ctx context.Context) error {
	s.mu.Lock()
	started := s.slots != nil
	s.mu.Unlock()
	if !started {
		return nil
	}
	s.stop()
	s.Upgrader.closeSockets()
	gone := make(chan struct{})
	go func() {
		s.all.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		s.forceOnce.Do(func() { close(s.force) })
		<-gone
		return ctx.Err()
	}
}
