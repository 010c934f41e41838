//go:build unix

package pollertest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var closeTests = []test{
	{"EverythingAfter", testEverythingAfterClose},
	{"AfterWake", testCloseAfterWake},
	{"WhileWaiting", testCloseWhileWaiting},
	{"LeavesDescriptorsOpen", testCloseLeavesDescriptorsOpen},
	{"OnlyOneCloses", testOnlyOneCloses},
	{"InAStorm", testCloseInAStorm},
}

// closedForGood checks that every method says so, and goes on saying so.
func (f *fixture) closedForGood(fd int) {
	f.Helper()
	for range 2 {
		for _, timeout := range []time.Duration{0, 1, time.Millisecond, time.Hour, -1} {
			n, err := f.poller.Wait(f.batch, timeout)
			require.Equal(f, poller.ErrClosed, err, "Wait(%v)", timeout)
			require.Zero(f, n)
		}
		_, err := f.poller.Wait(nil, 0)
		require.Equal(f, poller.ErrClosed, err)
		require.Equal(f, poller.ErrClosed, f.poller.Add(fd, 1, both))
		require.Equal(f, poller.ErrClosed, f.poller.Modify(fd, 1, both))
		require.Equal(f, poller.ErrClosed, f.poller.Remove(fd))
		require.Equal(f, poller.ErrClosed, f.poller.Wake())
		require.Equal(f, poller.ErrClosed, f.poller.Close())
	}
}

func testEverythingAfterClose(f *fixture) {
	a, _ := socketPair(f)
	f.add(a, 1, both)
	f.settle()
	require.NoError(f, f.poller.Close())
	f.closedForGood(a.fd)
}

func testCloseAfterWake(f *fixture) {
	a, _ := socketPair(f)
	f.add(a, 1, both)
	require.NoError(f, f.poller.Wake())
	require.NoError(f, f.poller.Close())
	f.closedForGood(a.fd)
}

func testCloseWhileWaiting(f *fixture) {
	for round := range 20 {
		for _, timeout := range []time.Duration{-1, time.Hour} {
			other := open(f.T, f.backend)
			a, _ := socketPair(f)
			other.add(a, 1, poller.Readable)
			done := other.background(timeout)
			stagger(round)
			require.NoError(f, other.poller.Close())
			result := finish(f, done, "Wait")
			require.Equal(f, poller.ErrClosed, result.err)
			require.Zero(f, result.n)
		}
	}
}

func testCloseLeavesDescriptorsOpen(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, both)
	require.NoError(f, f.poller.Close())
	b.write("x")
	// And they can be registered elsewhere.
	other := open(f.T, f.backend)
	other.add(a, 1, both)
	other.await(1, both)
	data, _ := a.drain()
	require.Equal(f, "x", data)
}

func testOnlyOneCloses(f *fixture) {
	for range 20 {
		other := open(f.T, f.backend)
		var closed atomic.Int32
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				switch err := other.poller.Close(); err {
				case nil:
					closed.Add(1)
				default:
					assert.Equal(f, poller.ErrClosed, err)
				}
			})
		}
		f.finishAll(&group, "Close")
		require.EqualValues(f, 1, closed.Load())
	}
}

// testCloseInAStorm closes while all other methods are being called. They may succeed or say ErrClosed, nothing else.
func testCloseInAStorm(f *fixture) {
	for range 20 {
		other := open(f.T, f.backend)
		var group sync.WaitGroup
		var calls atomic.Int64
		storm := func(step func() error) {
			group.Go(func() {
				for {
					err := step()
					calls.Add(1)
					if err != nil {
						assert.Equal(f, poller.ErrClosed, err)
						return
					}
				}
			})
		}
		timeouts := []time.Duration{0, -1, time.Microsecond, time.Hour}
		round := 0
		storm(func() error {
			round++
			_, err := other.poller.Wait(other.batch, timeouts[round%len(timeouts)])
			return err
		})
		for range 3 {
			a, _ := socketPair(f)
			storm(other.poller.Wake)
			storm(func() error { return register(other.poller, a.fd) })
		}
		for deadline := time.Now().Add(patience); calls.Load() < 500; {
			require.True(f, time.Now().Before(deadline), "the storm stands still")
			time.Sleep(10 * time.Microsecond)
		}
		require.NoError(f, other.poller.Close())
		f.finishAll(&group, "storm")
	}
}

// register adds, modifies and removes fd.
func register(p poller.Poller, fd int) error {
	if err := p.Add(fd, 1, both); err != nil {
		return err
	}
	if err := p.Modify(fd, 2, poller.Readable); err != nil {
		return err
	}
	if err := p.Remove(fd); err != nil {
		return err
	}
	if err := p.Remove(fd); !errors.Is(err, unix.ENOENT) {
		if err == nil {
			return fmt.Errorf("%d was removed twice", fd)
		}
		return err
	}
	return nil
}
