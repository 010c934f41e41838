//go:build unix

package pollertest

import (
	"fmt"
	"sync/atomic"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var identityTests = []test{
	{"NumberReused", testNumberReused},
	{"NumberReusedWhileWaiting", testNumberReusedWhileWaiting},
	{"DuplicateLeftOpen", testDuplicateLeftOpen},
	{"DuplicatesAreTwo", testDuplicatesAreTwo},
}

// become closes d, and gives its number to other's socket.
func (d *descriptor) become(other *descriptor) {
	d.Helper()
	d.close()
	fd, err := unix.FcntlInt(uintptr(other.fd), unix.F_DUPFD_CLOEXEC, d.fd)
	require.NoError(d, err)
	require.Equal(d, d.fd, fd, "the number was taken by somebody else")
	d.closed = false
}

func testNumberReused(f *fixture) {
	a, b := socketPair(f)
	for token := range poller.Token(50) {
		f.add(a, token, both)
		b.write("for the old one")
		if token%2 == 0 {
			f.await(token, poller.Readable)
		}
		f.remove(a)
		next, peer := socketPair(f)
		a.become(next)
		b.close()
		next.close()
		b = peer
	}
	f.add(a, 1000, both)
	require.Equal(f, poller.Writable, f.await(1000, poller.Writable), "the new one has received nothing")
}

// testNumberReusedWhileWaiting: a Wait that began after Remove had returned knows nothing of the old token.
func testNumberReusedWhileWaiting(f *fixture) {
	const last = 300
	var removed atomic.Uint64 // tokens up to this one are gone
	done := make(chan error, 1)
	go func() {
		events := make([]poller.Event, 4)
		for {
			gone := poller.Token(removed.Load())
			n, err := f.poller.Wait(events, -1)
			if err != nil {
				done <- err
				return
			}
			for _, event := range events[:n] {
				if event.Token <= gone {
					done <- fmt.Errorf("event of token %d after token %d was removed", event.Token, gone)
					return
				}
				if event.Token == last && event.Readiness&poller.Readable != 0 {
					done <- nil
					return
				}
			}
		}
	}()
	a, b := socketPair(f)
	for token := poller.Token(1); ; token++ {
		require.NoError(f, f.poller.Add(a.fd, token, both))
		b.write("x")
		if token == last {
			break
		}
		require.NoError(f, f.poller.Remove(a.fd))
		removed.Store(uint64(token))
		next, peer := socketPair(f)
		a.become(next)
		next.close()
		b.close()
		b = peer
	}
	require.NoError(f, finish(f, done, "waiter"))
}

// faults.md P3. testDuplicateLeftOpen: epoll(7), question 6. Without the Remove, the open duplicate would keep events coming.
func testDuplicateLeftOpen(f *fixture) {
	a, b := tcpPair(f)
	a.duplicate()
	f.add(a, 1, both)
	f.settle()
	b.write("x")
	f.remove(a)
	a.close()
	b.write("y")
	b.close()
	require.Zero(f, f.listen(1))
}

func testDuplicatesAreTwo(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable)
	duplicate := a.duplicate()
	f.add(duplicate, 2, poller.Readable)
	b.write("x")
	said := map[poller.Token]poller.Readiness{}
	for len(said) < 2 {
		events := f.wait(patience)
		require.NotEmpty(f, events)
		for _, event := range events {
			said[event.Token] |= event.Readiness
		}
	}
	f.remove(a)
	f.settle()
	b.write("y")
	f.await(2, poller.Readable)
}
