package loop_test

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// parking is a poller that knows wake-ups alone: a loop that waits for one is parked by the Go scheduler.
type parking struct{ woken chan struct{} }

func newParking(sys.Kernel) (poller.Poller, error) { return parking{make(chan struct{}, 1)}, nil }

func (p parking) Wait(_ []poller.Event, timeout time.Duration) (int, error) {
	if timeout < 0 {
		<-p.woken
	}
	return 0, nil
}

func (p parking) Wake() error {
	select {
	case p.woken <- struct{}{}:
	default:
	}
	return nil
}

func (parking) Add(int, poller.Token, poller.Interest) error    { return nil }
func (parking) Modify(int, poller.Token, poller.Interest) error { return nil }
func (parking) Remove(int) error                                { return nil }
func (parking) Close() error                                    { return nil }

// restless has something to do in each turn of its loop, and again and again wakes another one.
type restless struct {
	own, other *loop.Loop
	waiting    bool
	turns      []int // that each wait for the other took
	done       chan struct{}

	came chan struct{}
}

func (r *restless) RunOnLoop() {
	if r.waiting {
		select {
		case <-r.came:
			r.waiting = false
		default:
			r.turns[len(r.turns)-1]++
		}
	} else if len(r.turns) == 100 {
		close(r.done)
		return
	} else {
		r.turns, r.waiting = append(r.turns, 0), true
		r.other.Post((*coming)(r))
	}
	r.own.Requeue(r)
}

type coming restless

func (c *coming) RunOnLoop() { c.came <- struct{}{} }

// A loop that never waits does not keep a processor from one that has been woken.
func TestGivesWayToWoken(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	e := newEngine(t, loop.Config{Loops: 2, NewPoller: newParking})
	r := &restless{own: e.Loop(0), other: e.Loop(1), done: make(chan struct{}), came: make(chan struct{}, 1)}
	require.True(t, r.own.Post(r))
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatal("the other loop does not come")
	}
	slices.Sort(r.turns)
	require.Less(t, r.turns[len(r.turns)/2], 20)
}
