package coserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// stalled serves one connection whose peer does not read, and which has something queued.
func stalled(t *testing.T, s *coserver.Server) (c *coserver.Conn, client net.Conn, sent int) {
	addr, conns := kept(t, s, "tcp")
	client = dial(t, addr)
	c = receive(t, conns)
	narrow(t, c, client)
	return c, client, stall(t, c, bytes.Repeat([]byte("."), 1000))
}

// faults.md M4: many peers that do not read: the memory that they cost all together is bounded, and there is room for those that do.
func TestQueuesAreBoundedTogether(t *testing.T) {
	const peers, total = 1000, 8 << 20
	s := &coserver.Server{MaxQueuedTotal: total}
	addr, conns := kept(t, s, "tcp")
	var slow []*coserver.Conn
	for range peers {
		client := dial(t, addr)
		c := receive(t, conns)
		narrow(t, c, client)
		slow = append(slow, c)
	}
	client := dial(t, addr)
	c := receive(t, conns)
	before := heap()
	block := make([]byte, 16<<10)
	message := coserver.NewMessage(block)
	for round := range 100 {
		for i, c := range slow {
			var err error
			if i%2 == 0 {
				err = c.Enqueue(block)
			} else {
				err = c.EnqueueMessage(message)
			}
			if err != nil {
				require.Equal(t, coserver.ErrQueueFull, err)
			}
		}
		queued := s.Stats().Queues.Queued
		require.LessOrEqual(t, queued, total)
		if round%10 == 0 {
			require.NoError(t, c.Enqueue([]byte("there is room for others")))
			got := make([]byte, len("there is room for others"))
			_, err := io.ReadFull(client, got)
			require.NoError(t, err)
		}
	}
	require.NotZero(t, s.Stats().Queues.RefusedTotal)
	require.Greater(t, s.Stats().Queues.Queued, total/2)
	require.Less(t, heap()-before, int64(2*total))
}

// heap returns how many bytes are reachable.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// With DropOldest the peer gets what is newest, each message whole, and what was dropped is counted.
func TestDropOldest(t *testing.T) {
	const messages, size = 1000, 1000
	s := &coserver.Server{MaxQueued: 50_000, QueuePolicy: coserver.DropOldest}
	addr, conns := kept(t, s, "tcp")
	client := dial(t, addr)
	c := receive(t, conns)
	narrow(t, c, client)
	for number := range messages {
		f := frameOf(1, number, size)
		if number%2 == 0 {
			require.NoError(t, c.Enqueue(f))
		} else {
			require.NoError(t, c.EnqueueMessage(coserver.NewMessage(f)))
		}
		require.LessOrEqual(t, c.Queued(), 50_000)
	}
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(frameOf(2, 0, size)) // is not dropped
		written <- err
	}()
	eventually(t, func() bool { return coserver.InLine(c) == 1 || c.Queued() == 0 }, "the Write is in line")
	for number := range messages {
		require.NoError(t, c.Enqueue(frameOf(3, number, size)))
	}
	require.Equal(t, coserver.ErrQueueFull, c.Enqueue(make([]byte, 50_000))) // drops nothing
	go func() {
		if noError(t, c.Flush()) {
			noError(t, c.CloseWrite())
		}
	}()
	got := make(map[int][]int)
	require.NoError(t, readFrames(t, client, func(sender, number int) { got[sender] = append(got[sender], number) }))
	require.NoError(t, receive(t, written))
	require.Len(t, got[2], 1)
	require.True(t, slices.IsSorted(got[1]))
	require.True(t, slices.IsSorted(got[3]))
	require.Equal(t, messages-1, got[3][len(got[3])-1])
	stats := s.Stats().Queues
	require.EqualValues(t, 2*messages-len(got[1])-len(got[3]), stats.Dropped)
	require.NotZero(t, stats.Dropped)
	require.Zero(t, stats.Lost)
	require.EqualValues(t, 1, stats.Refused)
}

// With CutSlow a full queue costs the connection its life, and says why; others do not notice.
func TestCutSlow(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier, MaxQueued: 50_000, QueuePolicy: coserver.CutSlow}
		c, client, _ := stalled(t, s)
		ctx := c.Context()
		require.Equal(t, coserver.ErrQueueFull, c.Enqueue(make([]byte, 50_000))) // no fault of the peer's
		require.NoError(t, ctx.Err())
		var err error
		for err == nil {
			err = c.Enqueue(make([]byte, 1000))
		}
		require.Equal(t, coserver.ErrQueueFull, err)
		require.ErrorIs(t, context.Cause(ctx), coserver.ErrQueueFull)
		require.ErrorIs(t, c.Enqueue(make([]byte, 1000)), net.ErrClosed)
		_, err = io.ReadAll(client)
		require.ErrorContains(t, err, "connection reset by peer")
		eventually(t, func() bool { return s.Stats().Queues.Queued == 0 }, "the memory is free")
		stats := s.Stats().Queues
		require.EqualValues(t, 1, stats.Cut)
		require.EqualValues(t, 2, stats.Refused)
		require.NotZero(t, stats.Lost)
	})
}

// faults.md M4: if it is the total that is used up, the longest queues go, and not the one that happens to come next.
func TestCutSlowTakesTheLongest(t *testing.T) {
	s := &coserver.Server{MaxQueued: 1 << 20, MaxQueuedTotal: 2 << 20, QueuePolicy: coserver.CutSlow}
	addr, conns := kept(t, s, "tcp")
	var slow []*coserver.Conn
	for i := range 5 {
		client := dial(t, addr)
		c := receive(t, conns)
		narrow(t, c, client)
		stall(t, c, make([]byte, 1000))
		for c.Queued() < 100_000*(5-i) && s.Stats().Queues.Cut == 0 {
			require.NoError(t, c.Enqueue(make([]byte, 10_000)))
		}
		slow = append(slow, c)
	}
	require.Zero(t, s.Stats().Queues.Cut)
	last := slow[4]
	var err error
	for err == nil { // it has the shortest, and then not even what is left
		err = last.Enqueue(make([]byte, 200_000))
	}
	require.Equal(t, coserver.ErrQueueFull, err)
	eventually(t, func() bool { return s.Stats().Queues.Cut > 0 }, "one is cut")
	eventually(t, func() bool { return s.Stats().Queues.Queued <= 7*(2<<20)/8 }, "an eighth is free")
	require.NotZero(t, s.Stats().Queues.RefusedTotal)
	eventually(t, func() bool { return min(slow[0].Queued(), last.Queued()) == 0 }, "it was the one whose queue was the longest")
	for _, c := range slow[1:4] {
		require.NotZero(t, c.Queued())
	}
}

// A panic in OnPressure ends its connection and is reported.
func TestPressureFalls(t *testing.T) {
	for name, fall := range map[string]func(){"panics": func() { panic(errTest) }, "exits": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			reported := make(chan error, 1)
			s := &coserver.Server{HighWater: 1, LowWater: 1, OnPressure: func(*coserver.Conn, bool) { fall() },
				OnError: func(_ *coserver.Conn, err error) { reported <- err }}
			addr, conns := kept(t, s, "tcp")
			client := dial(t, addr)
			require.NoError(t, receive(t, conns).Enqueue([]byte("x")))
			require.Error(t, receive(t, reported))
			_, err := io.ReadAll(client)
			_ = err // the message may have been on its way
			exchange(t, dial(t, start(t, &coserver.Server{Handler: echoNext}, "tcp")), "others live")
		})
	}
}

func TestQueueOptions(t *testing.T) {
	for want, s := range map[string]*coserver.Server{
		"MaxQueued is -1":                           {MaxQueued: -1},
		"MaxQueuedTotal is -1":                      {MaxQueuedTotal: -1},
		"MaxQueuedTotal is 10, want MaxQueued (20)": {MaxQueued: 20, MaxQueuedTotal: 10},
		"HighWater is -5":                           {HighWater: -5},
		"HighWater is 21, want up to MaxQueued":     {MaxQueued: 20, HighWater: 21},
		"LowWater is -1":                            {LowWater: -1},
		"LowWater is 6, want up to HighWater (5)":   {MaxQueued: 20, HighWater: 5, LowWater: 6},
		"QueuePolicy is 3":                          {QueuePolicy: 3},
	} {
		s.Handler = echoNext
		_, err := s.Listen("tcp", "127.0.0.1:0")
		require.ErrorContains(t, err, "coserver: Server."+want)
	}
	require.Equal(t, "DropNewest DropOldest CutSlow QueuePolicy(7)",
		fmt.Sprint(coserver.DropNewest, coserver.DropOldest, coserver.CutSlow, coserver.QueuePolicy(7)))
}

// Connections that are closed, cut, reset and timed out at any moment while several goroutines enqueue and write: nobody waits for ever,
// and nothing stays counted.
func TestQueueStorm(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		seed := rand.Uint64() >> 32
		for _, secure := range []bool{false, true} {
			s := &coserver.Server{Engine: newEngine(t, coserver.EngineConfig{Loops: 2}), Carrier: carrier, MaxQueued: 40_000, MaxQueuedTotal: 200_000,
				QueuePolicy: coserver.QueuePolicy(seed % 3), HighWater: 20_000, OnPressure: func(*coserver.Conn, bool) {}, OnError: func(*coserver.Conn, error) {},
				WriteTimeout: time.Duration(seed/3%3) * 5 * time.Millisecond, MaxConns: 1000}
			var opened, closed atomic.Int64
			s.Observer = &coserver.Observer{Opened: func(*coserver.Conn) { opened.Add(1) }, Closed: func(*coserver.Conn, coserver.Ending) { closed.Add(1) }}
			shared := coserver.NewMessage(make([]byte, 3000))
			act := func(c *coserver.Conn, random *rand.Rand) error {
				var err error
				switch random.IntN(40) {
				case 0:
					return c.Close()
				case 1:
					err = c.CloseWrite()
				case 2:
					err = c.SetWriteDeadline(time.Now().Add(time.Duration(random.IntN(3000)) * time.Microsecond))
				case 3, 4:
					err = c.SetWriteDeadline(time.Time{})
				case 5:
					err = c.Flush()
				case 6, 7, 8, 9:
					_, err = c.Write(make([]byte, random.IntN(5000)))
				case 10, 11:
					_, err = c.Writev([][]byte{make([]byte, 10), make([]byte, random.IntN(20_000))})
				case 12, 13, 14, 15, 16:
					err = c.EnqueueMessage(shared)
				default:
					err = c.Enqueue(make([]byte, random.IntN(3000)))
				}
				if errors.Is(err, net.ErrClosed) {
					return err
				}
				return nil
			}
			s.Handler = func(c *coserver.Conn) error {
				if err := c.SetWriteBuffer(8 << 10); err != nil {
					return err
				}
				number, err := c.ReadSlice('\n')
				if err != nil {
					return err
				}
				var group coserver.Group
				for i := range 3 {
					random := rand.New(rand.NewPCG(seed, uint64(i)<<8|uint64(number[0])))
					group.Offload(func() error {
						for range 100 {
							if act(c, random) != nil {
								break
							}
						}
						return nil
					})
				}
				random := rand.New(rand.NewPCG(seed, 99<<8|uint64(number[0])))
				for range 30 {
					if act(c, random) != nil {
						break
					}
				}
				return group.Wait()
			}
			if secure {
				s.TLSConfig = serverTLS()
			}
			addr := start(t, s, "tcp")
			var clients sync.WaitGroup
			for number := range 60 {
				random := rand.New(rand.NewPCG(seed, uint64(number)))
				clients.Go(func() {
					c, err := net.Dial(addr.Network(), addr.String())
					if !noError(t, err) {
						return
					}
					defer c.Close()
					noError(t, c.SetDeadline(time.Now().Add(patience)))
					noError(t, c.(*net.TCPConn).SetReadBuffer(64<<10))
					var rw io.ReadWriter = c
					if secure {
						rw = tls.Client(c, clientTLS())
					}
					if _, err := rw.Write([]byte{byte(number), '\n'}); err != nil {
						return
					}
					if random.IntN(3) > 0 {
						_, err = io.Copy(io.Discard, io.LimitReader(rw, int64(random.IntN(200_000))))
					}
					if random.IntN(2) == 0 {
						noError(t, c.(*net.TCPConn).SetLinger(0))
					}
					_ = err // however it ends
				})
			}
			clients.Wait()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			require.NoError(t, s.Shutdown(ctx), "seed %d", seed)
			cancel()
			stats := s.Stats()
			require.Zero(t, stats.Queues.Queued, "seed %d", seed)
			require.Zero(t, stats.Active, "seed %d", seed)
			require.EqualValues(t, 60, opened.Load(), "seed %d", seed)
			require.EqualValues(t, 60, closed.Load(), "seed %d", seed)
			places, _ := coserver.Admitted(s)
			require.Zero(t, places, "seed %d", seed)
		}
	})
}
