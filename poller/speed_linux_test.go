package poller_test

import (
	"testing"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// newSocket is one end of a socket pair; the other stays open with it.
func newSocket(t testing.TB) int { fd, _ := newSocketPair(t); return fd }

func newSocketPair(t testing.TB) (a, b int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	return fds[0], fds[1]
}

// echo is a Poller with one socket that can be made readable, and read empty again.
type echo struct {
	poller       poller.Poller
	socket, peer int
	buf          [1]byte
	events       []poller.Event
}

func newEcho(t testing.TB) *echo {
	p, err := poller.New(sys.Host)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	e := &echo{poller: p, events: make([]poller.Event, 64)}
	e.socket, e.peer = newSocketPair(t)
	require.NoError(t, p.Add(e.socket, 1, poller.Readable))
	return e
}

func (e *echo) send() { _, _ = sys.Host.Send(e.peer, e.buf[:]) }

// receive waits for the event of one send.
func (e *echo) receive(t testing.TB, timeout time.Duration) {
	n, err := e.poller.Wait(e.events, timeout)
	if n != 1 || err != nil {
		t.Fatalf("Wait: %d, %v", n, err)
	}
	if _, errno := sys.Host.Recv(e.socket, e.buf[:]); errno != 0 {
		t.Fatal(errno)
	}
}

func TestNoAllocations(t *testing.T) {
	e := newEcho(t)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		e.send()
		e.receive(t, 0)
	}), "Wait that need not wait")

	require.Zero(t, testing.AllocsPerRun(100, func() {
		_ = e.poller.Wake()
		_, _ = e.poller.Wait(e.events, -1)
	}), "Wake and Wait")

	// Another goroutine sends, so that Wait parks: AllocsPerRun lets only one run at a time.
	begin := make(chan struct{})
	defer close(begin)
	go func() {
		for range begin {
			e.send()
		}
	}()
	for _, timeout := range []time.Duration{-1, time.Hour} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			begin <- struct{}{}
			e.receive(t, timeout)
		}), "Wait(%v) that parks", timeout)
	}
}

func BenchmarkWake(b *testing.B) {
	e := newEcho(b)
	b.Run("Coalesced", func(b *testing.B) {
		for b.Loop() {
			_ = e.poller.Wake()
		}
	})
	b.Run("Wait", func(b *testing.B) {
		for b.Loop() {
			_ = e.poller.Wake()
			_, _ = e.poller.Wait(e.events, -1)
		}
	})
}

// BenchmarkWait includes a send and a receive on a socket pair.
func BenchmarkWait(b *testing.B) {
	for _, timeout := range []time.Duration{0, -1, time.Hour} {
		b.Run(timeout.String(), func(b *testing.B) {
			e := newEcho(b)
			b.ReportAllocs()
			for b.Loop() {
				e.send()
				e.receive(b, timeout)
			}
		})
	}
}

// BenchmarkAdd is the registration of a connection and its end.
func BenchmarkAdd(b *testing.B) {
	e := newEcho(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := e.poller.Add(e.peer, 2, poller.Readable|poller.Writable); err != nil {
			b.Fatal(err)
		}
		if err := e.poller.Remove(e.peer); err != nil {
			b.Fatal(err)
		}
	}
}
