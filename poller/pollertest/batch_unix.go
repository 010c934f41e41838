//go:build unix

package pollertest

import (
	"syscall"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var batchTests = []test{
	{"EmptySlice", testEmptySlice},
	{"SmallSlice", testSmallSlice},
	{"SliceGrowsAndShrinks", testSliceGrowsAndShrinks},
	{"OnlyTheReadyOnes", testOnlyTheReadyOnes},
	{"EachOnceBeforeAnyTwice", testEachOnceBeforeAnyTwice},
}

func testEmptySlice(f *fixture) {
	for _, timeout := range []time.Duration{0, time.Millisecond, -1} {
		for _, events := range [][]poller.Event{nil, {}, f.batch[:0]} {
			_, err := f.poller.Wait(events, timeout)
			isSystemError(f, err, syscall.EINVAL)
		}
	}
}

func testSmallSlice(f *fixture) {
	for token := range poller.Token(5) {
		a, _ := socketPair(f)
		f.add(a, token, poller.Writable)
	}
	f.batch = f.batch[:1]
	seen := map[poller.Token]bool{}
	for range 5 {
		events := f.wait(patience)
		require.Len(f, events, 1)
		seen[events[0].Token] = true
	}
	require.Len(f, seen, 5)
}

func testSliceGrowsAndShrinks(f *fixture) {
	for token := range poller.Token(32) {
		a, _ := socketPair(f)
		f.add(a, token, 0)
	}
	for _, size := range []int{1, 32, 2, 64, 3, 31} {
		f.batch = make([]poller.Event, size)
		for fd, token := range f.live {
			require.NoError(f, f.poller.Modify(fd, token, poller.Writable))
		}
		seen := map[poller.Token]bool{}
		for len(seen) < 32 {
			events := f.wait(patience)
			require.NotEmpty(f, events)
			for _, event := range events {
				seen[event.Token] = true
			}
		}
	}
}

func testOnlyTheReadyOnes(f *fixture) {
	const count = 100
	var peers []*descriptor
	for token := range poller.Token(count) {
		a, b := socketPair(f)
		f.add(a, token, poller.Readable)
		peers = append(peers, b)
	}
	require.Empty(f, f.wait(0))
	for i := 0; i < count; i += 3 {
		peers[i].write("x")
	}
	seen := map[poller.Token]bool{}
	for len(seen) < (count+2)/3 {
		events := f.wait(patience)
		require.NotEmpty(f, events)
		for _, event := range events {
			require.Zero(f, event.Token%3, "has received nothing")
			seen[event.Token] = true
		}
	}
}

// faults.md P10. testEachOnceBeforeAnyTwice has far more descriptors ready than fit in one batch, and makes all of them ready
// again after each: those that have been served must not come back before the others.
func testEachOnceBeforeAnyTwice(f *fixture) {
	// Duplicates of one socket share its events. They are not more, because Linux limits how many epoll instances,
	// directly and through another instance, one open file may wake (EINVAL from epoll_ctl(2)).
	const sockets, duplicates, batch = 11, 100, 128
	const count = sockets * duplicates
	var limit unix.Rlimit
	require.NoError(f, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Cur < count+200 {
		f.Skipf("the limit of open files, %d, is too low for %d descriptors", limit.Cur, count)
	}
	var peers []*descriptor
	for i := range sockets {
		// Of the Unix domain: it delivers at once, where TCP may leave a packet to a later soft interrupt.
		a, b := socketPair(f)
		require.NoError(f, unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20))
		for j := range duplicates {
			f.add(a.duplicate(), poller.Token(i*duplicates+j), poller.Readable)
		}
		peers = append(peers, b)
	}
	allReady := func() {
		for _, peer := range peers {
			peer.write("x")
		}
	}
	allReady()
	f.batch = make([]poller.Event, batch)
	for range 3 {
		seen := map[poller.Token]bool{}
		for len(seen) < count {
			events := f.wait(patience)
			require.NotEmpty(f, events)
			for _, event := range events[:min(len(events), count-len(seen))] {
				require.False(f, seen[event.Token], "token %d was served twice, with %d unserved", event.Token, count-len(seen))
				seen[event.Token] = true
			}
			allReady()
		}
	}
}
