//go:build unix

package pollertest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var wakeTests = []test{
	{"BeforeWait", testWakeBeforeWait},
	{"WhileWaiting", testWakeWhileWaiting},
	{"ManyAreOne", testManyWakesAreOne},
	{"WithEvents", testWakeWithEvents},
	{"AmongEvents", testWakeAmongEvents},
	{"NeverLost", testWakeNeverLost},
	{"NeverLostAmongEvents", testWakeNeverLostAmongEvents},
}

func testWakeBeforeWait(f *fixture) {
	for range 10 {
		require.NoError(f, f.poller.Wake())
		require.Empty(f, f.wait(-1))
	}
}

func testWakeWhileWaiting(f *fixture) {
	for round := range 50 {
		for _, timeout := range []time.Duration{-1, time.Hour} {
			done := f.background(timeout)
			stagger(round)
			require.NoError(f, f.poller.Wake())
			result := finish(f, done, "Wait")
			require.NoError(f, result.err)
			require.Zero(f, result.n)
		}
	}
}

func testManyWakesAreOne(f *fixture) {
	for range 5 {
		for range 100 {
			require.NoError(f, f.poller.Wake())
		}
		require.Empty(f, f.wait(-1))
		const timeout = 5 * time.Millisecond
		start := time.Now()
		require.Empty(f, f.wait(timeout))
		require.GreaterOrEqual(f, time.Since(start), timeout, "a second Wait was woken")
	}
}

// testWakeWithEvents: neither a wake-up nor an event displaces the other in a slice of one.
func testWakeWithEvents(f *fixture) {
	a, _ := socketPair(f)
	f.batch = f.batch[:1]
	f.add(a, 0, 0)
	for token := range poller.Token(20) {
		require.NoError(f, f.poller.Wake())
		f.modify(a, token, poller.Writable)
		f.await(token, poller.Writable)
		f.modify(a, token, 0)
		f.settle()
		require.NoError(f, f.poller.Wake())
		require.Empty(f, f.wait(-1))
	}
}

// testWakeAmongEvents has events come before and after a wake-up, all for one batch.
func testWakeAmongEvents(f *fixture) {
	var sockets []*descriptor
	for token := range poller.Token(6) {
		a, _ := socketPair(f)
		f.add(a, token, 0)
		sockets = append(sockets, a)
	}
	for range 5 {
		for token, a := range sockets {
			f.modify(a, poller.Token(token), poller.Writable)
			require.NoError(f, f.poller.Wake())
		}
		seen := map[poller.Token]bool{}
		for deadline := time.Now().Add(patience); len(seen) < len(sockets); {
			require.True(f, time.Now().Before(deadline), "got only %v", seen)
			for _, event := range f.wait(time.Until(deadline)) {
				seen[event.Token] = true
			}
		}
	}
}

func testWakeNeverLost(f *fixture) { f.wakeStress(64, 50) }

// testWakeNeverLostAmongEvents is the same with a descriptor that becomes ready all the time, so that wake-ups come while
// Wait is about to return for another reason.
func testWakeNeverLostAmongEvents(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable)
	var over atomic.Bool
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for !over.Load() {
			_, _ = b.send([]byte("x"))
			_, _ = a.drain()
			time.Sleep(50 * time.Microsecond)
		}
	}()
	f.wakeStress(16, 50)
	over.Store(true)
	finish(f, stopped, "writer")
}

// wakeStress has goroutines post to a mailbox, wake, and wait until a Wait that returned after their Wake has made
// the reader look at the mailbox. If one wake-up were lost, all would wait for ever.
func (f *fixture) wakeStress(goroutines, rounds int) {
	f.Helper()
	var (
		mu      sync.Mutex
		mailbox []chan struct{}
		over    bool
		wakes   atomic.Int64
		posters sync.WaitGroup
		idle    int64 // Waits that returned without an event
	)
	waiter := make(chan error, 1)
	go func() {
		events := make([]poller.Event, 1)
		for {
			n, err := f.poller.Wait(events, -1)
			if n == 0 {
				idle++
			}
			mu.Lock()
			posted, done := mailbox, over
			mailbox = nil
			mu.Unlock()
			for _, read := range posted {
				close(read)
			}
			if err != nil || done {
				waiter <- err
				return
			}
		}
	}()
	for range goroutines {
		posters.Go(func() {
			for range rounds {
				read := make(chan struct{})
				mu.Lock()
				mailbox = append(mailbox, read)
				mu.Unlock()
				wakes.Add(1)
				if !assert.NoError(f, f.poller.Wake()) {
					return
				}
				select {
				case <-read:
				case <-time.After(patience):
					assert.Fail(f, "a wake-up was lost")
					return
				}
			}
		})
	}
	posters.Wait()
	mu.Lock()
	over = true
	mu.Unlock()
	wakes.Add(1)
	require.NoError(f, f.poller.Wake())
	require.NoError(f, finish(f, waiter, "waiter"))
	require.LessOrEqual(f, idle, wakes.Load(), "a Wait returned without a reason")
}
