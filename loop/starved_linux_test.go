package loop_test

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/sys/systest"
)

// starvation is an engine on a kernel that can run out of descriptors, with virtual time.
type starvation struct {
	*testing.T
	kernel *starvedKernel
	engine *loop.Engine
	lines  atomic.Int64 // in the log
}

// starvedKernel counts what a listener asks for, and fails as it is told.
type starvedKernel struct {
	*systest.Kernel
	accepts    atomic.Int64
	failAccept atomic.Int64 // a syscall.Errno
	failWatch  atomic.Int64 // of listeners: how many times
}

func (k *starvedKernel) Accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	k.accepts.Add(1)
	if errno := syscall.Errno(k.failAccept.Load()); errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return k.Kernel.Accept(fd)
}

func (k *starvedKernel) EpollCtl(epfd, op, fd int, event unix.EpollEvent) syscall.Errno {
	if op == unix.EPOLL_CTL_ADD && event.Events&unix.EPOLLOUT == 0 && k.failWatch.Load() > 0 && k.failWatch.Add(-1) >= 0 {
		return syscall.ENOSPC
	}
	return k.Kernel.EpollCtl(epfd, op, fd, event)
}

// countingHandler counts lines.
type countingHandler struct {
	slog.Handler
	lines *atomic.Int64
}

func (h countingHandler) Handle(context.Context, slog.Record) error {
	h.lines.Add(1)
	return nil
}

func onStarving(t *testing.T, loops int, test func(s *starvation)) {
	synctest.Test(t, func(t *testing.T) {
		s := &starvation{T: t, kernel: &starvedKernel{Kernel: systest.New(systest.Options{})}}
		logger := slog.New(countingHandler{quiet.Handler(), &s.lines})
		var err error
		s.engine, err = loop.NewEngine(loop.Config{Loops: loops, Kernel: s.kernel, Logger: logger})
		require.NoError(t, err)
		test(s)
		require.NoError(t, s.engine.Close())
		require.Empty(t, s.kernel.Open())
		require.Empty(t, s.kernel.Violations())
		for i := range loops {
			require.Empty(t, loop.Left(s.engine.Loop(i)))
		}
	})
}

func (s *starvation) start() *loop.Listener {
	ln, err := s.engine.Start("tcp", "127.0.0.1:0", loop.Service{Handler: callbacks{data: echo}})
	require.NoError(s, err)
	synctest.Wait()
	return ln
}

// exhaust lets no further descriptor be opened.
func (s *starvation) exhaust() { s.kernel.SetMaxDescriptors(len(s.kernel.Open())) }

func (s *starvation) connect(ln *loop.Listener) *systest.Peer {
	peer, err := s.kernel.Client(ln.Addr())
	require.NoError(s, err)
	_, err = peer.Write([]byte("x"))
	require.NoError(s, err)
	synctest.Wait()
	return peer
}

func served(peer *systest.Peer) bool {
	n, _ := peer.Read(make([]byte, 10))
	return n == 1
}

// Accepting goes on within 100 ms after somebody has closed a descriptor, as often as they run out, and until then it does
// nearly nothing. Nobody who waits is lost.
func TestAcceptingHeals(t *testing.T) {
	onStarving(t, 1, func(s *starvation) {
		ln := s.start()
		for episode := range 5 {
			s.exhaust()
			var peers []*systest.Peer
			for range 10 {
				peers = append(peers, s.connect(ln))
			}
			time.Sleep(time.Second) // it rests for longer and longer
			before := s.kernel.accepts.Load()
			time.Sleep(10 * time.Second)
			require.LessOrEqual(t, s.kernel.accepts.Load()-before, int64(210))
			require.EqualValues(t, episode+1, s.lines.Load())
			for i, peer := range peers {
				require.False(t, served(peer))
				s.kernel.SetMaxDescriptors(len(s.kernel.Open()) + 1)
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				require.True(t, served(peer), "episode %d, client %d", episode, i)
			}
			for _, peer := range peers {
				peer.Close()
			}
			s.kernel.SetMaxDescriptors(0)
			synctest.Wait()
		}
	})
}

// Accepting goes on at once when the engine has closed a descriptor of its own, on whichever loop it was.
func TestAcceptingHealsAtOnce(t *testing.T) {
	onStarving(t, 2, func(s *starvation) {
		ln, other := s.start(), s.start()
		var open []*systest.Peer
		for range 8 {
			open = append(open, s.connect(ln))
		}
		s.exhaust()
		var waiting []*systest.Peer
		for i := range open {
			waiting = append(waiting, s.connect([]*loop.Listener{ln, other}[i%2]))
		}
		time.Sleep(time.Minute)
		begin := time.Now()
		count := 0
		for _, peer := range open {
			peer.Close()
			synctest.Wait()
			for _, peer := range waiting {
				if served(peer) {
					count++
				}
			}
		}
		require.Equal(t, begin, time.Now())
		require.Equal(t, len(open), count)
	})
}

// Closing a listener gives a descriptor to another one, and one that closes while it rests leaves nothing behind.
func TestStarvedListenerCloses(t *testing.T) {
	onStarving(t, 1, func(s *starvation) {
		one, two := s.start(), s.start()
		s.exhaust()
		s.connect(one)
		peer := s.connect(two)
		time.Sleep(time.Minute)
		require.NoError(t, one.Close())
		synctest.Wait()
		require.True(t, served(peer))
		s.connect(two)
		time.Sleep(time.Second)
		require.NoError(t, two.Close())
		synctest.Wait()
	})
}

// Errors that are about connections, one after the other without end, do not make the loop spin.
func TestEndlessAbortedConnections(t *testing.T) {
	onStarving(t, 1, func(s *starvation) {
		ln := s.start()
		old := s.connect(ln)
		require.True(t, served(old))
		s.kernel.failAccept.Store(int64(syscall.ECONNABORTED))
		peer := s.connect(ln)
		time.Sleep(time.Second)
		before := s.kernel.accepts.Load()
		time.Sleep(time.Second)
		require.LessOrEqual(t, s.kernel.accepts.Load()-before, int64(21*64))
		require.Zero(t, s.lines.Load())
		s.kernel.failAccept.Store(0)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		require.True(t, served(peer))
	})
}

// A listener that the kernel has no room to watch serves as soon as there is some.
func TestListenerCannotBeWatched(t *testing.T) {
	onStarving(t, 1, func(s *starvation) {
		s.kernel.failWatch.Store(3)
		ln := s.start()
		peer := s.connect(ln)
		require.False(t, served(peer))
		ln.Pause()
		ln.Resume()
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		require.True(t, served(peer))
		require.EqualValues(t, 1, s.lines.Load())

		s.kernel.failWatch.Store(1000)
		never := s.start()
		time.Sleep(time.Second)
		require.NoError(t, never.Close())
		synctest.Wait()
	})
}

// As often as accepting pauses, the log gets a line a second.
func TestPausesFillNoLog(t *testing.T) {
	onStarving(t, 1, func(s *starvation) {
		ln := s.start()
		for range 100 {
			s.exhaust()
			peer := s.connect(ln)
			time.Sleep(100 * time.Millisecond)
			s.kernel.SetMaxDescriptors(0)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			require.True(t, served(peer))
			peer.Close()
			synctest.Wait()
		}
		require.LessOrEqual(t, s.lines.Load(), int64(20))
	})
}

// crowding fills the backlog in each turn of a loop, and notes how many connections that has accepted.
type crowding struct {
	*starvation
	ln    *loop.Listener
	turns []int64
	last  int64
	done  chan struct{}
}

func (c *crowding) RunOnLoop() {
	now := c.kernel.accepts.Load()
	c.turns = append(c.turns, now-c.last)
	c.last = now
	if len(c.turns) == 10 {
		close(c.done)
		return
	}
	for err := error(nil); err == nil; { // until the backlog is full
		_, err = c.kernel.Client(c.ln.Addr())
	}
	c.engine.Loop(0).Requeue(c)
}

// However many clients come, a turn of the loop accepts no more than its share of them.
func TestAcceptBudget(t *testing.T) {
	onStarving(t, 1, func(s *starvation) {
		c := &crowding{starvation: s, ln: s.start(), last: s.kernel.accepts.Load(), done: make(chan struct{})}
		s.engine.Loop(0).Post(c)
		<-c.done
		for _, n := range c.turns[1:] {
			require.LessOrEqual(t, n, int64(64))
		}
		synctest.Wait()
	})
}
