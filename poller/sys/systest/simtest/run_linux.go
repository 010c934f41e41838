package simtest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seedFlag = flag.Uint64("seed", 0, "replay the simulation with this seed, and show its trace")
	soakFlag = flag.Duration("soak", 0, "run simulations with random seeds for this long")

	current  atomic.Uint64 // the seed that is running
	progress atomic.Uint64 // steps of all runs
)

// Simulation is what is run with many seeds.
type Simulation struct {
	// Held are the calls that a decision lets go on: see systest.NewScheduler.
	Held []string

	// Drive is one run, in a bubble of testing/synctest that ends with it.
	Drive func(*Sim)
}

// Run runs the simulation with the seeds from 1 to count, or as the flags say.
func (m *Simulation) Run(t *testing.T, count int) {
	defer watch()()
	switch {
	case *seedFlag != 0:
		s := m.run(t, *seedFlag, true)
		for _, line := range s.lines {
			t.Log(line)
		}
	case *soakFlag != 0:
		begin := time.Now()
		runs := 0
		for ; time.Since(begin) < *soakFlag && !t.Failed(); runs++ {
			m.run(t, rand.Uint64()>>32, false)
		}
		t.Logf("%d seeds", runs)
	default:
		for seed := range uint64(count) {
			if m.run(t, seed+1, false); t.Failed() {
				return
			}
		}
	}
}

// Replay fails if a seed from 1 to count does not give the same run twice.
func (m *Simulation) Replay(t *testing.T, count int) {
	defer watch()()
	for seed := range uint64(count) {
		first, second := m.run(t, seed+1, true), m.run(t, seed+1, true)
		require.Equal(t, first.lines, second.lines, "seed %d", seed+1)
	}
}

func (m *Simulation) run(t *testing.T, seed uint64, keep bool) *Sim {
	current.Store(seed)
	var s *Sim
	synctest.Test(t, func(t *testing.T) {
		s = newSim(t, seed, keep, m.Held)
		m.Drive(s)
	})
	return s
}

// stuck is how long one step may take by the real clock.
const stuck = time.Minute

// watch ends the process, and says with which seed, if a run neither rests nor goes on: it spins, or it waits for a lock.
func watch() (end func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(stuck)
		defer ticker.Stop()
		for before := progress.Load(); ; {
			select {
			case <-over:
				return
			case <-ticker.C:
			}
			now := progress.Load()
			if now == before {
				fmt.Fprintf(os.Stderr, "seed %d: a step does not end\n", current.Load())
				_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
				os.Exit(2)
			}
			before = now
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}
