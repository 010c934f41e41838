//go:build unix

package pollertest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
)

const (
	// patience is how long a test waits for what must happen.
	patience = 20 * time.Second
	// quiet is how long a test listens for what must not happen.
	quiet = 20 * time.Millisecond
)

// fixture is one Poller and the tokens whose events may come. Its helpers are for the goroutine of the test, as are
// those of require.
type fixture struct {
	*testing.T
	backend Backend
	poller  poller.Poller
	live    map[int]poller.Token // by descriptor
	batch   []poller.Event
}

func open(t *testing.T, backend Backend) *fixture {
	p, err := backend.Open()
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := p.Close(); !errors.Is(err, poller.ErrClosed) {
			require.NoError(t, err)
		}
	})
	return &fixture{t, backend, p, map[int]poller.Token{}, make([]poller.Event, 16)}
}

func (f *fixture) add(d *descriptor, token poller.Token, interest poller.Interest) {
	f.Helper()
	require.NoError(f, f.poller.Add(d.fd, token, interest))
	f.live[d.fd] = token
}

func (f *fixture) modify(d *descriptor, token poller.Token, interest poller.Interest) {
	f.Helper()
	require.NoError(f, f.poller.Modify(d.fd, token, interest))
	f.live[d.fd] = token
}

func (f *fixture) remove(d *descriptor) {
	f.Helper()
	require.NoError(f, f.poller.Remove(d.fd))
	delete(f.live, d.fd)
}

// wait calls Wait once, and checks what holds for every event: it carries a token that is registered, and says something.
func (f *fixture) wait(timeout time.Duration) []poller.Event {
	f.Helper()
	stuck := time.AfterFunc(2*patience, func() { _ = f.poller.Close() })
	n, err := f.poller.Wait(f.batch, timeout)
	require.True(f, stuck.Stop(), "Wait(%v) did not return", timeout)
	require.NoError(f, err)
	require.LessOrEqual(f, n, len(f.batch))
	f.overlookUrgent(n)
	for _, event := range f.batch[:n] {
		require.True(f, f.isLive(event.Token), "event of a token that is not registered: %#x", event.Token)
		require.NotZero(f, event.Readiness)
	}
	return f.batch[:n]
}

// overlookUrgent takes out of n events what a backend says that cannot tell.
func (f *fixture) overlookUrgent(n int) {
	for i := range f.batch[:n] {
		if event := &f.batch[i]; f.backend.NoUrgent != "" && event.Readiness&poller.Readable != 0 {
			event.Readiness &^= poller.Urgent
		}
	}
}

func (f *fixture) isLive(token poller.Token) bool {
	for _, live := range f.live {
		if live == token {
			return true
		}
	}
	return false
}

// await waits until the events of token have said all of want, and returns all that they said. What comes for others is
// dropped.
func (f *fixture) await(token poller.Token, want poller.Readiness) (said poller.Readiness) {
	f.Helper()
	for deadline := time.Now().Add(patience); said&want != want; {
		require.True(f, time.Now().Before(deadline), "token %#x: waited for %05b, got %05b", token, want, said)
		for _, event := range f.wait(time.Until(deadline)) {
			if event.Token == token {
				said |= event.Readiness
			}
		}
	}
	return said
}

// settle takes all events there are, until there are none.
func (f *fixture) settle() {
	f.Helper()
	for len(f.wait(0)) > 0 {
	}
}

// listen gathers what is said of token for a while.
func (f *fixture) listen(token poller.Token) (said poller.Readiness) {
	f.Helper()
	for deadline := time.Now().Add(quiet); time.Now().Before(deadline); {
		for _, event := range f.wait(time.Until(deadline)) {
			if event.Token == token {
				said |= event.Readiness
			}
		}
	}
	return said
}

// outcome is what a call in another goroutine has returned.
type outcome struct {
	n    int
	err  error
	took time.Duration
}

// background calls Wait in another goroutine.
func (f *fixture) background(timeout time.Duration) <-chan outcome {
	done := make(chan outcome, 1)
	start := time.Now()
	go func() {
		n, err := f.poller.Wait(f.batch, timeout)
		f.overlookUrgent(n)
		done <- outcome{n, err, time.Since(start)}
	}()
	return done
}

// finish receives what must come soon.
func finish[T any](f *fixture, done <-chan T, what string) T {
	f.Helper()
	select {
	case value := <-done:
		return value
	case <-time.After(patience):
		require.FailNow(f, "not finished: "+what)
		panic("unreachable")
	}
}

// stagger gives a goroutine just started the time to get into its Wait, but only in every other round: in the rest the
// caller races with it. Nothing may depend on which of them wins.
func stagger(round int) {
	if round%2 == 0 {
		time.Sleep(time.Millisecond)
	}
}

// finishAll waits for the goroutines of group.
func (f *fixture) finishAll(group *sync.WaitGroup, what string) {
	f.Helper()
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	finish(f, done, what)
}
