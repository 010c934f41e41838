// Package steady tells what something that is done to a server does to others that it serves: clients that ask at a rate of their
// own, whatever comes.
package steady

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var long = flag.Bool("long", false, "run the long forms of tests that have one, and hold them to figures that need a quiet machine")

// Long reports whether tests are to run in their long forms, as make hostile has it.
func Long() bool { return *long }

// patience is how long a client waits for an answer.
const patience = 20 * time.Second

// Clients ask an echo, and note how long each answer takes: from when it was due to be asked for, so that one that comes late is
// not left out of account.
type Clients struct {
	t      *testing.T
	period time.Duration
	stop   chan struct{}
	all    sync.WaitGroup

	mu   sync.Mutex
	took []time.Duration
}

// Start connects so many clients, each of which asks once in a period until the test ends. One that does not get its answer
// fails the test.
func Start(t *testing.T, addr net.Addr, count int, period time.Duration) *Clients {
	t.Helper()
	s := &Clients{t: t, period: period, stop: make(chan struct{})}
	t.Cleanup(func() {
		close(s.stop)
		s.all.Wait()
	})
	for range count {
		c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
		require.NoError(t, err)
		s.all.Go(func() {
			defer c.Close()
			if err := s.ask(c); err != nil {
				t.Errorf("a client that is steady: %v", err)
			}
		})
	}
	return s
}

func (s *Clients) ask(c net.Conn) error {
	question, answer := []byte("how long?\n"), make([]byte, 10)
	due := time.Now().Add(rand.N(s.period))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for ; ; timer.Reset(time.Until(due)) {
		select {
		case <-s.stop:
			return nil
		case <-timer.C:
		}
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := c.Write(question); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			return err
		}
		if !bytes.Equal(question, answer) {
			return errors.New("another answer")
		}
		s.mu.Lock()
		s.took = append(s.took, time.Since(due))
		s.mu.Unlock()
		due = due.Add(s.period)
	}
}

// During returns how long 99 of 100 answers took at most that came while do ran; if there was none, of the first one after it.
func (s *Clients) During(do func()) (p99 time.Duration) {
	s.t.Helper()
	s.answers()
	do()
	var took []time.Duration
	require.Eventually(s.t, func() bool { took = append(took, s.answers()...); return len(took) > 0 }, patience, time.Millisecond)
	slices.Sort(took)
	return took[len(took)*99/100]
}

// answers returns how long those took that have come since the last call.
func (s *Clients) answers() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := s.took
	s.took = nil
	return took
}

// Compare runs disturb some times, each after a pause, and returns what During says of the pauses and of the others: the medians.
func (s *Clients) Compare(times int, pause time.Duration, disturb func()) (alone, disturbed time.Duration) {
	s.t.Helper()
	var pauses, others []time.Duration
	for range times {
		pauses = append(pauses, s.During(func() { time.Sleep(pause) })) // what is measured is this time
		others = append(others, s.During(disturb))
	}
	return Median(pauses), Median(others)
}

// Median returns the median of durations, which it sorts.
func Median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// Within logs what 99 of 100 answers took alone and disturbed, and holds the long form of a test to most times as much.
func Within(t *testing.T, most float64, alone, disturbed time.Duration) {
	t.Helper()
	ratio := float64(disturbed) / float64(alone)
	t.Logf("99 %% of answers: alone within %v, disturbed %v (%.2f)", alone, disturbed, ratio)
	if Long() {
		require.LessOrEqual(t, ratio, most)
	}
}
