package coserver

import (
	"context"
	"sync"
	"time"

	"github.com/strand-net/strand/loop"
)

// Sleep waits for d, or until ctx is done, and then returns its error. Unlike time.Sleep it holds up nothing: an inline handler is
// parked, and its loop goes on. Any goroutine may call it.
func Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	t := currentTask()
	if t == nil || !t.settle() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if ctx.Done() == nil {
		s := sleeps.Get().(*sleeping)
		s.sleep(t, d)
		*s = sleeping{}
		sleeps.Put(s)
		return nil
	}
	s := new(sleeping)
	defer context.AfterFunc(ctx, func() { t.reactor.loop.Post((*sleepCancelled)(s)) })()
	s.sleep(t, d)
	if s.cancelled {
		return ctx.Err()
	}
	return nil
}

// sleeps are for those that nobody can cancel; what cancels others may keep them.
var sleeps = sync.Pool{New: func() any { return new(sleeping) }}

// sleep returns when the time is over, or when it is cancelled. The task must be the caller.
func (s *sleeping) sleep(t *task, d time.Duration) {
	s.task, s.when = t, t.reactor.loop.Now()+int64(d)
	if l := t.reactor.loop; l.Pin(t.visit) {
		l.SetTimer(&s.timer, s.when, s)
		l.Unpin(t.visit)
	} else {
		l.Post((*sleepBegun)(s))
	}
	t.yield(struct{}{})
}

// sleeping is a task that waits for a time. Its loop's, but for what the task has set before.
type sleeping struct {
	task      *task
	when      int64 // on the loop's clock
	timer     loop.Timer
	over      bool
	cancelled bool
}

// RunOnLoop is the timer's.
func (s *sleeping) RunOnLoop() {
	s.over = true
	s.task.resume()
}

// sleepBegun is a sleep whose task could not set the timer itself, and sleepCancelled one that ends early.
type (
	sleepBegun     sleeping
	sleepCancelled sleeping
)

func (b *sleepBegun) RunOnLoop() {
	if s := (*sleeping)(b); !s.over {
		s.task.reactor.loop.SetTimer(&s.timer, s.when, s)
	}
}

func (c *sleepCancelled) RunOnLoop() {
	s := (*sleeping)(c)
	if s.over {
		return
	}
	s.task.reactor.loop.StopTimer(&s.timer)
	s.over, s.cancelled = true, true
	s.task.resume()
}
