//go:build unix

package pollertest

import (
	"syscall"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
)

var edgeTests = []test{
	{"OncePerArrival", testOncePerArrival},
	{"ArrivalBeforeDrain", testArrivalBeforeDrain},
	{"ArrivalAfterDrain", testArrivalAfterDrain},
	{"ArrivalAfterDrainUnseen", testArrivalAfterDrainUnseen},
	{"WritableAgain", testWritableAgain},
	{"WritablePipeAgain", testWritablePipeAgain},
	{"ArrivalWhileWaiting", testArrivalWhileWaiting},
}

func testOncePerArrival(f *fixture) {
	if f.backend.Repeats != "" {
		f.Skip("may report the same bytes again: ", f.backend.Repeats)
	}
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable|poller.Writable)
	b.write("x")
	f.await(1, poller.Readable|poller.Writable)
	require.Zero(f, f.listen(1))
}

func testArrivalBeforeDrain(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable|poller.Writable)
	for range 5 {
		b.write("x") // on top of what has not been read
		f.await(1, poller.Readable)
		f.settle()
	}
}

func testArrivalAfterDrain(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable|poller.Writable)
	for range 50 {
		b.write("x")
		f.await(1, poller.Readable)
		_, err := a.drain()
		require.ErrorIs(f, err, syscall.EAGAIN)
	}
}

// testArrivalAfterDrainUnseen lets nobody look between the drain and the arrival.
func testArrivalAfterDrainUnseen(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable|poller.Writable)
	b.write("x")
	for range 50 {
		f.await(1, poller.Readable)
		_, err := a.drain()
		require.ErrorIs(f, err, syscall.EAGAIN)
		b.write("y")
	}
}

func testWritableAgain(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable|poller.Writable)
	f.await(1, poller.Writable)
	for range 10 {
		a.fill()
		f.awaitRoom(1, b)
	}
}

// awaitRoom waits until token is writable, by draining the other end: again and again, for there may be more on its way than has arrived.
func (f *fixture) awaitRoom(token poller.Token, other *descriptor) {
	f.Helper()
	for deadline := time.Now().Add(patience); ; {
		require.True(f, time.Now().Before(deadline), "token %#x: there is no room", token)
		_, err := other.drain()
		require.ErrorIs(f, err, syscall.EAGAIN)
		if f.listen(token)&poller.Writable != 0 {
			return
		}
	}
}

func testWritablePipeAgain(f *fixture) {
	reader, writer := pipe(f)
	f.add(writer, 1, poller.Writable)
	for range 10 {
		f.await(1, poller.Writable)
		writer.fill()
		_, err := reader.drain()
		require.ErrorIs(f, err, syscall.EAGAIN)
	}
}

func testArrivalWhileWaiting(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable)
	for round := range 50 {
		done := f.background(-1)
		stagger(round)
		b.write("x")
		result := finish(f, done, "Wait")
		require.NoError(f, result.err)
		require.Equal(f, 1, result.n)
		require.Equal(f, poller.Event{Token: 1, Readiness: poller.Readable}, f.batch[0])
		a.drain()
		f.settle()
	}
}
