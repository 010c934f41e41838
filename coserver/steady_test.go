package coserver_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// long is for make hostile, on a machine that has nothing else to do.
var long = flag.Bool("long", false, "run the long forms of the tests that have one, and hold them to their figures")

// steady are clients that ask at a rate of their own, whatever comes, and note how long each answer takes: from when it was due to be
// asked for, so that one that comes late is not left out of account.
type steady struct {
	t      *testing.T
	period time.Duration
	stop   chan struct{}
	all    sync.WaitGroup

	mu   sync.Mutex
	took []time.Duration
}

// startSteady connects so many clients, each of which asks once in a period until the test ends.
func startSteady(t *testing.T, addr net.Addr, count int, period time.Duration) *steady {
	t.Helper()
	s := &steady{t: t, period: period, stop: make(chan struct{})}
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
	t.Cleanup(s.end)
	return s
}

func (s *steady) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.all.Wait()
}

func (s *steady) ask(c net.Conn) error {
	question, answer := []byte("how long?\n"), make([]byte, 10)
	due := time.Now().Add(rand.N(s.period))
	for timer := time.NewTimer(time.Until(due)); ; timer.Reset(time.Until(due)) {
		select {
		case <-s.stop:
			timer.Stop()
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

// during returns how long 99 of 100 answers took at most that came while do ran; there was one.
func (s *steady) during(do func()) (p99 time.Duration) {
	s.t.Helper()
	s.answers()
	do()
	var took []time.Duration
	eventually(s.t, func() bool { took = append(took, s.answers()...); return len(took) > 0 }, "there is no answer")
	slices.Sort(took)
	return took[len(took)*99/100]
}

// answers returns how long those took that have come since the last call.
func (s *steady) answers() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := s.took
	s.took = nil
	return took
}

// compare runs disturb some times, with a pause before each, and returns how long 99 of 100 answers took in these and in those: the
// medians.
func (s *steady) compare(times int, pause time.Duration, disturb func()) (alone, disturbed time.Duration) {
	s.t.Helper()
	var without, with []time.Duration
	for range times {
		without = append(without, s.during(func() { time.Sleep(pause) })) // what is measured is this time
		with = append(with, s.during(disturb))
	}
	alone, disturbed = median(without), median(with)
	s.t.Logf("99 %% of answers: within %v, disturbed %v (%.2f)", alone, disturbed, float64(disturbed)/float64(alone))
	return alone, disturbed
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// requireWithin holds the long form of a test to its figure.
func requireWithin(t *testing.T, most float64, alone, disturbed time.Duration) {
	t.Helper()
	if *long {
		require.LessOrEqual(t, float64(disturbed), most*float64(alone), fmt.Sprintf("%v, disturbed %v", alone, disturbed))
	}
}
