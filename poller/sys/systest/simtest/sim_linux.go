package simtest

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/strand-net/strand/poller/sys/systest"
)

// Sim is one run. Its methods are for the goroutine that drives it, except those that say otherwise.
type Sim struct {
	Seed   uint64
	Rand   *rand.Rand
	Kernel *systest.Kernel

	Lacking bool // descriptors are scarce

	t         *testing.T
	keep      bool // the trace
	scheduler *systest.Scheduler
	kind      systest.Faults // what Calm ends
	most      int            // bytes at once
	actors    int            // goroutines of Go

	mu    sync.Mutex
	steps int
	lines []string // of the trace, if it is kept
	wrong string   // the first failure that came from another goroutine
}

// restless is how many steps something may go on by itself before it counts as endless.
const restless = 100_000

// longTrace is how many lines of a trace are shown, the last.
const longTrace = 500000

// newSim chooses a kernel: anything from a calm one with large buffers to one that does everything at the worst time.
func newSim(t *testing.T, seed uint64, keep bool, held []string) *Sim {
	s := &Sim{Seed: seed, Rand: rand.New(rand.NewPCG(seed, 0)), t: t, keep: keep}
	s.scheduler = systest.NewScheduler(append(held, actorCall)...)
	if s.OneIn(2) {
		s.kind = systest.Faults{Interrupt: s.Rand.IntN(200), Short: s.Rand.IntN(500), Spurious: s.Rand.IntN(200),
			Few: s.Rand.IntN(500), Abort: s.Rand.IntN(50)}
	}
	options := systest.Options{
		Seed: seed, SendBuffer: 1 << s.Rand.IntN(20), Window: 1 << s.Rand.IntN(20), Delayed: s.OneIn(2), Faults: s.kind,
		Scheduler: s.scheduler,
	}
	if keep {
		options.Trace = func(line string) { s.Trace("  %s", line) }
	}
	s.most = roundTrips * min(options.SendBuffer, options.Window)
	s.Kernel = systest.New(options)
	return s
}

// Calm ends the faults, and the want of descriptors.
func (s *Sim) Calm() {
	s.Kernel.SetFaults(systest.Faults{})
	s.Kernel.SetMaxDescriptors(0)
}

// Scarce makes, in some runs, descriptors scarce, and what the kernel needs to register connections.
func (s *Sim) Scarce() {
	if s.OneIn(4) {
		s.Lacking = true
		s.Kernel.SetMaxDescriptors(len(s.Kernel.Open()) + 1 + s.Rand.IntN(8))
	}
	if s.kind != (systest.Faults{}) && s.OneIn(4) {
		s.kind.NoWatch = 100
		s.Kernel.SetFaults(s.kind)
	}
}

// OneIn is true once in n times.
func (s *Sim) OneIn(n int) bool { return s.Rand.IntN(n) == 0 }

// roundTrips is how often the buffers of a connection have to be emptied, at most, for what is sent at once.
const roundTrips = 32

// Size is a number of bytes: mostly few, seldom up to most, or what can be moved in a reasonable number of steps.
func (s *Sim) Size(most int) int {
	most = min(most, s.most)
	return 1 + s.Rand.IntN(1+s.Rand.IntN(1+s.Rand.IntN(most)))
}

// Bulk is many bytes, more than anybody is served in one turn, if that can be moved in a reasonable number of steps.
func (s *Sim) Bulk() int { return min(700_000, s.most) }

// Within is a time less than d.
func (s *Sim) Within(d time.Duration) time.Duration { return time.Duration(s.Rand.Int64N(int64(d))) }

// Trace notes what happens. The traces of two runs of a seed are the same. Safe from any goroutine.
func (s *Sim) Trace(format string, args ...any) {
	if !s.keep {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// Wrong notes a failure, which ends the run at its next step. Safe from any goroutine.
func (s *Sim) Wrong(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wrong == "" {
		s.wrong = fmt.Sprintf(format, args...)
	}
}

// Fatalf ends the run.
func (s *Sim) Fatalf(format string, args ...any) {
	s.t.Helper()
	s.mu.Lock()
	trace := strings.Join(s.lines[max(0, len(s.lines)-longTrace):], "\n")
	s.mu.Unlock()
	if trace != "" {
		s.t.Log("trace:\n" + trace)
	}
	s.t.Fatalf("seed %d, step %d: %s\nreplay: go test -run '^%s$' -seed %d (after the package)", s.Seed, s.steps, fmt.Sprintf(format, args...),
		s.t.Name(), s.Seed)
}

// Action is something that may happen, Weight times as often as one of weight 1.
type Action struct {
	Weight int
	Do     func()
}

// Step lets one thing happen: a call that waits goes on, bytes on their way arrive, or one of the actions is done.
func (s *Sim) Step(actions []Action) {
	s.Settle()
	if ready := s.scheduler.Ready(); len(ready) > 0 && !s.OneIn(3) {
		s.grant(ready)
		return
	}
	if s.OneIn(3) && s.Kernel.Deliver(s.Size(100_000), s.Rand.IntN) {
		s.Trace("deliver")
		return
	}
	sum := 0
	for _, a := range actions {
		sum += a.Weight
	}
	n := s.Rand.IntN(sum)
	for _, a := range actions {
		if n -= a.Weight; n < 0 {
			a.Do()
			return
		}
	}
}

// Settle waits until no goroutine can go on by itself. What starts goroutines must come before it, and what they are to
// see only after it, or the run is not the same each time.
func (s *Sim) Settle() {
	s.steps++
	progress.Add(1)
	synctest.Wait()
	s.mu.Lock()
	wrong := s.wrong
	s.mu.Unlock()
	if wrong != "" {
		s.Fatalf("%s", wrong)
	}
	if violations := s.Kernel.Violations(); len(violations) > 0 {
		s.Fatalf("%s", strings.Join(violations, "\n"))
	}
}

func (s *Sim) grant(ready []*systest.Call) {
	c := ready[s.Rand.IntN(len(ready))]
	s.Trace("%s(%d) goes on", c.Name, c.FD)
	s.scheduler.Grant(c)
	s.Settle()
}

// Rest goes on until nothing moves any more while the clock stands still. moved is asked whether the test itself has moved
// something.
func (s *Sim) Rest(moved func() bool) {
	for range restless {
		s.Settle()
		if ready := s.scheduler.Ready(); len(ready) > 0 {
			s.grant(ready)
		} else if s.Kernel.Deliver(1<<30, s.Rand.IntN) {
			s.Trace("deliver")
		} else if !moved() {
			return
		}
	}
	s.Fatalf("there is no end of it")
}

// Advance moves the clock on.
func (s *Sim) Advance(d time.Duration) {
	s.Trace("%v later", d)
	time.Sleep(d)
	s.Settle()
}

const actorCall = "actor"

// Go runs do on a goroutine of its own. It begins at a step to come.
func (s *Sim) Go(do func()) {
	s.actors++
	number := s.actors
	go func() {
		s.Pause(number)
		do()
	}()
}

// Pause makes the calling goroutine wait for a step to come: one of Go after each call that waits, or it goes on beside whoever
// woke it; any other after a call that wakes somebody. The number tells those apart that wait at the same time: Go's count from 1.
func (s *Sim) Pause(number int) { s.scheduler.Enter(actorCall, number) }

// Finish goes on until done is closed, moving the clock as far as it must, but not further than patience.
func (s *Sim) Finish(done <-chan struct{}, patience time.Duration, moved func() bool, what string) {
	for waited := time.Duration(0); ; waited += 10 * time.Millisecond {
		s.Rest(moved)
		select {
		case <-done:
			return
		default:
		}
		if waited > patience {
			s.Fatalf("%s took more than %v", what, patience)
		}
		s.Advance(10 * time.Millisecond)
	}
}

// Clean fails if the engine has left anything in the kernel.
func (s *Sim) Clean() {
	s.Settle()
	if open := s.Kernel.Open(); len(open) > 0 {
		s.Fatalf("descriptors left: %v", open)
	}
	if calls := s.scheduler.Ready(); len(calls) > 0 {
		s.Fatalf("calls under way: %s(%d)", calls[0].Name, calls[0].FD)
	}
}

// Logger fails the run for what must not be logged.
func (s *Sim) Logger(forbidden ...string) *slog.Logger {
	return slog.New(&logWatcher{Handler: slog.DiscardHandler, sim: s, forbidden: forbidden})
}
