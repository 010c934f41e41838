package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// errInterrupted is how a command ends that was told to by a signal.
var errInterrupted = errors.New("interrupted")

// waitingForRest is said after the first signal.
const waitingForRest = "interrupted: what is in flight is waited for, and another signal ends that"

// sameSignal is how soon after the first one another is the same: timeout(1) sends a signal to a process and then to its group, which it is in.
const sameSignal = 200 * time.Millisecond

// ends are what signals ask for: the first one that load ends before its time, the second that it ends at once.
type ends struct {
	context.Context // done when it is to end at once
	cancel          context.CancelFunc
	stop            chan time.Time // has the time at which traffic is to end
	asked           atomic.Bool    // for that, by a signal
	released        chan struct{}
}

// heed begins to take signals. The first one goes to nobody if told is set: somebody else says when traffic ends, who gets it too. release must be
// called.
func heed(told bool) *ends {
	e := &ends{stop: make(chan time.Time, 1), released: make(chan struct{})}
	e.Context, e.cancel = context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer signal.Stop(signals)
		var first time.Time
		for {
			select {
			case <-signals:
			case <-e.released:
				return
			}
			switch {
			case !e.asked.Swap(true):
				first = time.Now()
				if !told {
					e.stop <- first
				}
			case time.Since(first) > sameSignal:
				e.cancel()
			}
		}
	}()
	return e
}

func (e *ends) release() {
	close(e.released)
	e.cancel()
}
