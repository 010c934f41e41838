package upgrade

import (
	"context"
	"log/slog"
	"time"
)

// slot is the place of one worker of a Supervisor. Its fields are those of the goroutine of run.
type slot struct {
	supervisor *Supervisor
	index      int
	reloads    chan reload

	worker *child // nil while there is none
	since  time.Time
	pause  time.Duration // before the next is started
}

// reload asks for another worker.
type reload struct {
	ctx  context.Context
	done chan error
}

// run keeps a worker in the slot until ctx is done, which ends it.
func (sl *slot) run(ctx context.Context) {
	var again <-chan time.Time
	for {
		var exited <-chan struct{}
		if sl.worker != nil {
			exited, again = sl.worker.exited, nil
		} else if again == nil {
			sl.lengthen()
			again = time.After(sl.pause)
		}
		select {
		case <-exited:
			sl.lost()
		case <-again:
			again = nil
			sl.restart(ctx)
		case r := <-sl.reloads:
			r.done <- sl.replace(ctx, r.ctx)
		case <-ctx.Done():
			if sl.worker != nil {
				sl.supervisor.dismiss(sl.worker)
			}
			return
		}
	}
}

// lost reports a worker that has ended by itself.
func (sl *slot) lost() {
	state := sl.worker.cmd.ProcessState
	if time.Since(sl.since) >= sl.supervisor.HealthyAfter {
		sl.pause = 0
	}
	sl.worker.control.Close()
	sl.worker = nil
	sl.supervisor.Logger.Error("worker has ended",
		slog.Int("worker", sl.index+1), slog.Int("pid", state.Pid()), slog.String("state", state.String()))
}

// lengthen doubles the pause, within its limits.
func (sl *slot) lengthen() {
	sl.pause = min(max(2*sl.pause, sl.supervisor.MinPause), sl.supervisor.MaxPause)
}

// restart starts a worker in an empty slot.
func (sl *slot) restart(ctx context.Context) {
	c, err := sl.supervisor.begin(ctx)
	if err == nil {
		sl.set(c)
	} else if ctx.Err() == nil {
		sl.supervisor.Logger.Error("worker cannot be started", slog.Int("worker", sl.index+1), slog.Any("error", err))
	}
}

func (sl *slot) set(c *child) { sl.worker, sl.since = c, time.Now() }

// replace starts another worker and retires the one that there is. It gives up when either context is done.
func (sl *slot) replace(running, asked context.Context) error {
	ctx, cancel := context.WithCancelCause(asked)
	defer cancel(nil)
	defer context.AfterFunc(running, func() { cancel(ErrStopped) })()
	c, err := sl.supervisor.begin(ctx)
	if err != nil {
		return err
	}
	if sl.worker != nil {
		sl.supervisor.retire(sl.worker)
	}
	sl.set(c)
	sl.pause = 0
	return nil
}

// retire tells c that it has been replaced, and sees to it that it ends.
func (s *Supervisor) retire(c *child) {
	if err := c.retire(); err != nil { // it has ended
		c.kill()
		return
	}
	s.all.Go(func() {
		limit := time.NewTimer(s.RetireLimit)
		defer limit.Stop()
		select {
		case <-c.exited:
			c.control.Close()
		case <-limit.C:
			s.Logger.Error("replaced worker is killed", slog.Int("pid", c.pid()), slog.Duration("after", s.RetireLimit))
			c.kill()
		case <-s.stopping:
			s.dismiss(c)
		}
	})
}

// dismiss tells c to end and waits until it has, or is to be killed.
func (s *Supervisor) dismiss(c *child) {
	_ = terminate(c.cmd.Process) // it may have ended
	select {
	case <-c.exited:
		c.control.Close()
	case <-s.force:
		c.kill()
	}
}
