package coserver_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// As many run in the lane as there are processors; who comes later waits until one has left, or has been there for too long.
func TestLane(t *testing.T) {
	var lane coserver.Lane
	var clock atomic.Int64
	var inside []func()
	for range runtime.GOMAXPROCS(0) {
		inside = append(inside, lane.Enter(clock.Load))
	}
	entered := make(chan func())
	enter := func() { entered <- lane.Enter(clock.Load) }

	go enter()
	require.True(t, lane.Expire(int64(coserver.PlaceTime)-1))
	select {
	case <-entered:
		t.Fatal("there is no place")
	default:
	}
	inside[0]()
	inside[0] = receive(t, entered)

	go enter()
	clock.Store(int64(coserver.PlaceTime)) // the time of the first ones is over, but for the one that came last
	eventually(t, func() bool {
		lane.Expire(clock.Load())
		select {
		case leave := <-entered:
			inside = append(inside, leave)
			return true
		default:
			return false
		}
	}, "the next one enters")
	for _, leave := range inside {
		leave()
	}
	require.False(t, lane.Expire(clock.Load()), "nobody is left")
}

// Handlers that compute, are taken over for it, and then wait for each other, come to meet: however few of them run at a time.
func TestHandlersOfTheLaneMayWaitForEachOther(t *testing.T) {
	engine := oneLoop(t)
	count := 2*runtime.GOMAXPROCS(0) + 1
	var met sync.WaitGroup
	met.Add(count)
	addr := start(t, &coserver.Server{Engine: engine, Handler: func(c *coserver.Conn) error {
		for {
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			switch string(line) {
			case "compute\n":
				for start := time.Now(); coserver.Carried(c) == "inline" && time.Since(start) < time.Minute; {
				}
			case "meet\n":
				met.Done()
				met.Wait()
			}
			if _, err := c.Write(line); err != nil {
				return err
			}
		}
	}}, "tcp")
	var group sync.WaitGroup
	for range count {
		c := dial(t, addr)
		group.Go(func() {
			exchange(t, c, "compute\n")
			exchange(t, c, "meet\n")
			exchange(t, c, "and go on\n")
		})
	}
	group.Wait()
	require.NotZero(t, engine.Stats().TakeOvers)
}
