package coserver_test

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/sys/systest"
)

// tiny is a kernel that holds a thousand bytes of a connection.
var tiny = systest.Options{SendBuffer: 500, Window: 500}

// drain reads what the peer gets until nothing comes any more, and returns it with why: io.EOF, a reset, or systest.ErrWouldBlock.
func drain(peer *systest.Peer) (string, error) {
	var all []byte
	for buffer := make([]byte, 100); ; {
		n, err := peer.Read(buffer)
		all = append(all, buffer[:n]...)
		if err != nil && err != systest.ErrWouldBlock {
			return string(all), err
		}
		if n == 0 {
			return string(all), err
		}
		synctest.Wait()
	}
}

// queueing is a server on the tiny kernel whose handler enqueues what it is told, and then does what end says.
func queueing(t *testing.T, s *coserver.Server, messages []string, end func(*coserver.Conn) error,
	test func(c *coserver.Conn, peer *systest.Peer)) {
	var conn atomic.Pointer[coserver.Conn]
	s.Handler = func(c *coserver.Conn) error {
		conn.Store(c)
		for _, m := range messages {
			if err := c.Enqueue([]byte(m)); err != nil {
				return err
			}
		}
		return end(c)
	}
	onFake(t, tiny, s, func(peer *systest.Peer) {
		test(conn.Load(), peer)
		peer.Close()
		synctest.Wait()
		stats := s.Stats().Queues
		require.Zero(t, stats.Queued, "what is dropped counts no more")
	})
}

// parts is ten messages, more than the tiny kernel holds.
func parts() []string {
	var all []string
	for i := range 10 {
		all = append(all, strings.Repeat(string(rune('a'+i)), 300))
	}
	return all
}

func wait(c *coserver.Conn) error {
	_, err := c.Next()
	return err
}

// perMessage is what a queued message counts besides its bytes.
const perMessage = 64

// With DropNewest a full queue takes nothing more, to the byte, and is as it was: what it has taken arrives, and then it takes more.
func TestQueueIsBounded(t *testing.T) {
	const most = 100_000
	s := &coserver.Server{MaxQueued: most}
	queueing(t, s, nil, wait, func(c *coserver.Conn, peer *systest.Peer) {
		enqueue := func(n int) error {
			defer synctest.Wait()
			return c.Enqueue(bytes.Repeat([]byte("."), n))
		}
		require.NoError(t, enqueue(1000)) // which the kernel takes
		require.Zero(t, c.Queued())
		sent := 1000
		for refused := uint64(0); refused < 3; {
			before := c.Queued()
			err := enqueue(3000)
			if err == nil {
				sent += 3000
				require.Equal(t, before+3000+perMessage, c.Queued())
				continue
			}
			require.Equal(t, coserver.ErrQueueFull, err)
			require.Equal(t, before, c.Queued())
			require.Greater(t, before+3000+perMessage, most)
			refused++
			require.Equal(t, refused, s.Stats().Queues.Refused)
		}
		rest := most - c.Queued() - perMessage
		require.Equal(t, coserver.ErrQueueFull, enqueue(rest+1))
		require.NoError(t, enqueue(rest))
		require.Equal(t, most, c.Queued())
		require.Equal(t, most, s.Stats().Queues.Queued)
		require.Equal(t, coserver.ErrQueueFull, enqueue(0+1))
		got, err := drain(peer)
		require.Equal(t, systest.ErrWouldBlock, err)
		require.Equal(t, strings.Repeat(".", sent+rest), got)
		require.Zero(t, c.Queued())
		require.Zero(t, s.Stats().Queues.Queued)
		require.NoError(t, enqueue(10))
		require.Equal(t, coserver.ErrQueueFull, enqueue(most)) // more than an empty queue takes
		got, _ = drain(peer)
		require.Equal(t, strings.Repeat(".", 10), got)
	})
}

// OnPressure is told high and low in turn, holds up nothing while it blocks, and the last word is what holds.
func TestPressure(t *testing.T) {
	var told []bool
	var mu sync.Mutex
	var conn atomic.Pointer[coserver.Conn]
	blocks := make(chan struct{})
	s := &coserver.Server{MaxQueued: 10_000, HighWater: 5000, LowWater: 1000, OnPressure: func(c *coserver.Conn, high bool) {
		if c != conn.Load() {
			t.Error("another's")
		}
		mu.Lock()
		told = append(told, high)
		mu.Unlock()
		<-blocks
	}}
	queueing(t, s, nil, wait, func(c *coserver.Conn, peer *systest.Peer) {
		blocks = make(chan struct{}) // of this bubble
		conn.Store(c)
		seen := func() []bool {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return append([]bool(nil), told...)
		}
		fill := func() {
			for c.Queued() <= 5000 {
				require.NoError(t, c.Enqueue(make([]byte, 500)))
				synctest.Wait()
			}
		}
		for c.Queued()+500+perMessage <= 5000 {
			require.NoError(t, c.Enqueue(make([]byte, 500)))
			require.Empty(t, seen())
		}
		fill()
		require.Equal(t, []bool{true}, seen())
		for range 4 { // though OnPressure has not returned
			_, err := drain(peer)
			require.Equal(t, systest.ErrWouldBlock, err)
			require.Zero(t, c.Queued())
			fill()
		}
		require.Equal(t, []bool{true}, seen())
		close(blocks)
		require.Equal(t, []bool{true, false, true}, seen()) // the others came too late
		for c.Queued() > 1000 {
			require.Len(t, seen(), 3)
			_, err := peer.Read(make([]byte, 100))
			require.NoError(t, err)
			synctest.Wait()
		}
		require.Equal(t, []bool{true, false, true, false}, seen())
		fill()
		require.Len(t, seen(), 5)
		peer.Reset()
		require.Len(t, seen(), 6, "whoever waits for it to be low must not wait for ever")
	})
}

// A Message counts once for all connections of a server, each time anew, and for each server.
func TestMessageCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kernel := systest.New(tiny)
		engine, err := coserver.NewEngineOn(kernel)
		require.NoError(t, err)
		m := coserver.NewMessage(make([]byte, 5_000))
		var servers []*coserver.Server
		var peers []*systest.Peer
		for range 2 {
			var conns []*coserver.Conn
			var mu sync.Mutex
			s := &coserver.Server{Engine: engine, Handler: func(c *coserver.Conn) error {
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
				return wait(c)
			}}
			servers = append(servers, s)
			ln, err := s.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			go s.Serve(ln)
			for range 3 {
				peer, err := kernel.Client(ln.Addr())
				require.NoError(t, err)
				peers = append(peers, peer)
			}
			synctest.Wait()
			require.Len(t, conns, 3)
			for i, c := range conns {
				for j := range 2 {
					require.NoError(t, c.EnqueueMessage(m))
					synctest.Wait()
					require.Equal(t, 5_000+(2*i+j+1)*perMessage, s.Stats().Queues.Queued)
				}
			}
		}
		for _, peer := range peers {
			got, err := drain(peer)
			require.Equal(t, systest.ErrWouldBlock, err)
			require.Len(t, got, 10_000)
		}
		for _, s := range servers {
			require.Zero(t, s.Stats().Queues.Queued)
			require.NoError(t, s.Close())
		}
		require.NoError(t, engine.Close())
		require.Empty(t, kernel.Open())
		require.Empty(t, kernel.Violations())
	})
}
