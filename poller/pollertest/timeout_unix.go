//go:build unix

package pollertest

import (
	"math"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
)

var timeoutTests = []test{
	{"NeverEarly", testNeverEarly},
	{"ZeroDoesNotWait", testZeroDoesNotWait},
	{"NegativeWaitsForWake", testNegativeWaitsForWake},
	{"TheLongest", testLongestTimeout},
	{"ShortestStillReports", testShortestStillReports},
	{"EndsWithAnEvent", testTimeoutEndsWithAnEvent},
	{"IsOfOneWait", testTimeoutIsOfOneWait},
}

func testNeverEarly(f *fixture) {
	a, _ := socketPair(f)
	f.add(a, 1, poller.Readable)
	for _, timeout := range []time.Duration{
		1, time.Microsecond, 100 * time.Microsecond, 500 * time.Microsecond, 999 * time.Microsecond, time.Millisecond,
		time.Millisecond + 1, 1500 * time.Microsecond, 10 * time.Millisecond, 30 * time.Millisecond,
	} {
		start := time.Now()
		require.Empty(f, f.wait(timeout))
		require.GreaterOrEqual(f, time.Since(start), timeout)
	}
}

func testZeroDoesNotWait(f *fixture) {
	for range 100 {
		done := f.background(0)
		result := finish(f, done, "Wait(0)")
		require.NoError(f, result.err)
		require.Zero(f, result.n)
	}
}

func testNegativeWaitsForWake(f *fixture) {
	for _, timeout := range []time.Duration{-1, -time.Hour, math.MinInt64} {
		done := f.background(timeout)
		select {
		case result := <-done:
			require.Fail(f, "Wait did not wait", "%v", result)
		case <-time.After(quiet):
		}
		require.NoError(f, f.poller.Wake())
		require.NoError(f, finish(f, done, "Wait").err)
	}
}

func testLongestTimeout(f *fixture) {
	for _, timeout := range []time.Duration{math.MaxInt64, math.MaxInt64 - 1, math.MaxInt32 * time.Millisecond * 2} {
		done := f.background(timeout)
		select {
		case result := <-done:
			require.Fail(f, "Wait did not wait", "%v", result)
		case <-time.After(quiet):
		}
		require.NoError(f, f.poller.Wake())
		require.NoError(f, finish(f, done, "Wait").err)
	}
}

// testShortestStillReports: a timeout that is over before Wait has looked does not keep it from looking, or whoever has
// a timer due in every turn would never see an event.
func testShortestStillReports(f *fixture) {
	a, _ := socketPair(f)
	f.add(a, 0, 0)
	for token := range poller.Token(20) {
		f.modify(a, token, poller.Writable)
		events := f.wait(1)
		require.Equal(f, []poller.Event{{Token: token, Readiness: poller.Writable}}, events)
	}
}

func testTimeoutEndsWithAnEvent(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable)
	for round := range 10 {
		done := f.background(time.Hour)
		stagger(round)
		b.write("x")
		result := finish(f, done, "Wait")
		require.NoError(f, result.err)
		require.Equal(f, 1, result.n)
		_, _ = a.drain()
		f.settle()
	}
}

// testTimeoutIsOfOneWait: what is left of a timeout when an event comes does not end a later Wait.
func testTimeoutIsOfOneWait(f *fixture) {
	const timeout = 10 * time.Millisecond
	for _, next := range []time.Duration{-1, time.Hour} {
		require.NoError(f, f.poller.Wake())
		require.Empty(f, f.wait(timeout))
		done := f.background(next)
		select {
		case result := <-done:
			require.Fail(f, "Wait ended with the timeout of the one before", "%v", result)
		case <-time.After(3 * timeout):
		}
		require.NoError(f, f.poller.Wake())
		require.NoError(f, finish(f, done, "Wait").err)
	}
}
