package coserver_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/sys/systest"
)

// takes lets the peer take n bytes, again and again after a while, until times are over. It returns what the peer got, and the error that
// has ended it.
func takes(peer *systest.Peer, n int, every time.Duration, times int) (string, error) {
	var got []byte
	for range times {
		time.Sleep(every)
		synctest.Wait()
		for buffer := make([]byte, n); len(buffer) > 0; {
			k, err := peer.Read(buffer)
			if err == systest.ErrWouldBlock {
				break
			}
			if err != nil {
				return string(got), err
			}
			got = append(got, buffer[:k]...)
			buffer = buffer[k:]
			synctest.Wait()
		}
	}
	return string(got), nil
}

// A peer that takes nothing of what is queued for WriteTimeout, or so little that no message gets away, has its connection reset;
// whoever stands in line behind the queue is told why.
func TestWriteTimeoutEndsAQueue(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, peerTakes := range map[string]func(*systest.Peer) error{
			"nothing": func(peer *systest.Peer) error {
				time.Sleep(200 * time.Millisecond)
				_, err := drain(peer)
				return err
			},
			"byte by byte": func(peer *systest.Peer) error {
				_, err := takes(peer, 1, 10*time.Millisecond, 250)
				return err
			},
		} {
			s := &coserver.Server{Carrier: carrier, WriteTimeout: time.Second}
			var cause, err error
			queueing(t, s, parts(), func(c *coserver.Conn) error {
				ctx := c.Context()
				_, err = c.Write([]byte("behind it"))
				cause = context.Cause(ctx)
				return err
			}, func(c *coserver.Conn, peer *systest.Peer) {
				time.Sleep(900 * time.Millisecond)
				synctest.Wait()
				require.NotZero(t, c.Queued(), name)
				require.Equal(t, syscall.ECONNRESET, peerTakes(peer), name)
				require.Zero(t, c.Queued(), name)
				require.ErrorIs(t, err, coserver.ErrWriteTimeout, name)
				require.Equal(t, coserver.ErrWriteTimeout, cause, name)
				stats := s.Stats()
				require.EqualValues(t, 1, stats.TimedOut.Write, name)
				require.EqualValues(t, 1, stats.Queues.TimedOut, name)
				require.NotZero(t, stats.Queues.Lost, name)
				require.Zero(t, stats.HandlerErrors, "it was the peer's fault")
			})
		}
	})
}

// A slow peer is not cut as long as it takes a message in WriteTimeout, however long all of them take.
func TestWriteTimeoutIsForAMessage(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, end := range map[string]func(*coserver.Conn) error{"waits": wait, "has returned": func(*coserver.Conn) error { return nil }} {
			s := &coserver.Server{Carrier: carrier, WriteTimeout: time.Second}
			queueing(t, s, parts(), end, func(c *coserver.Conn, peer *systest.Peer) {
				every := 900 * time.Millisecond
				if name != "waits" {
					every = 450 * time.Millisecond // all must have been sent after five seconds
				}
				got, err := takes(peer, 300, every, 10)
				require.NoError(t, err, name)
				require.Equal(t, strings.Join(parts(), ""), got, name)
				require.Zero(t, s.Stats().Queues.TimedOut, name)
			})
		}
	})
}

// A connection that is closed while something is queued has WriteTimeout for a message, too, and not the five seconds that it has
// otherwise; and so has one that Shutdown would wait for.
func TestWriteTimeoutAfterClose(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, end := range map[string]func(*coserver.Server, *coserver.Conn) error{
			"close": func(_ *coserver.Server, c *coserver.Conn) error { return c.Close() },
			"close with a deadline": func(_ *coserver.Server, c *coserver.Conn) error { // it holds for calls, and there are none any more
				return errors.Join(c.SetWriteDeadline(time.Now().Add(500*time.Millisecond)), c.Close())
			},
			"shutdown": func(s *coserver.Server, _ *coserver.Conn) error { return s.Shutdown(context.Background()) },
		} {
			t.Run(name, func(t *testing.T) {
				s := &coserver.Server{Carrier: carrier, WriteTimeout: 2 * time.Second}
				queueing(t, s, parts(), wait, func(c *coserver.Conn, peer *systest.Peer) {
					time.Sleep(time.Second)
					ended := make(chan error, 1)
					go func() { ended <- end(s, c) }()
					time.Sleep(900 * time.Millisecond) // the time goes on that had begun before
					synctest.Wait()
					require.NotZero(t, c.Queued())
					time.Sleep(200 * time.Millisecond)
					synctest.Wait()
					require.Zero(t, c.Queued())
					_, err := drain(peer)
					require.Equal(t, syscall.ECONNRESET, err)
					require.EqualValues(t, 1, s.Stats().TimedOut.Write)
					require.NoError(t, <-ended)
				})
			})
		}
	})
}

// A connection that is written to by its queue is not idle, and is when nothing moves any more.
func TestIdleTimeoutBesideAQueue(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, stalls := range map[string]bool{"sent": false, "stalled": true} {
			s := &coserver.Server{Carrier: carrier, IdleTimeout: time.Second}
			var err error
			queueing(t, s, parts(), func(c *coserver.Conn) error {
				err = wait(c)
				return err
			}, func(c *coserver.Conn, peer *systest.Peer) {
				got, takeErr := takes(peer, 300, 900*time.Millisecond, 5)
				require.NoError(t, takeErr, name)
				require.Len(t, got, 1500, name)
				require.Zero(t, s.Stats().TimedOut.Idle, name)
				require.NotZero(t, c.Queued())
				if !stalls {
					drain(peer)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				require.ErrorIs(t, err, coserver.ErrIdleTimeout, name)
				require.EqualValues(t, 1, s.Stats().TimedOut.Idle, name)
				require.Equal(t, stalls, c.Queued() > 0, "what is queued has its five seconds still")
			})
		}
	})
}

// Peers that do not read cost no processor time: nothing is tried until there is room, neither while the queue waits nor for what is
// enqueued meanwhile.
func TestStalledQueueCostsNothing(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		sends := 0
		options := tiny
		options.Trace = func(line string) {
			if strings.HasPrefix(line, "send") {
				sends++
			}
		}
		s := &coserver.Server{Carrier: carrier}
		var conn *coserver.Conn
		s.Handler = func(c *coserver.Conn) error {
			conn = c
			return wait(c)
		}
		onFake(t, options, s, func(peer *systest.Peer) {
			require.NoError(t, conn.Enqueue(make([]byte, 2000)))
			synctest.Wait()
			require.NotZero(t, sends)
			before, turns := sends, s.Engine.Stats().Loops[0].Turns
			for range 100 {
				require.NoError(t, conn.Enqueue(make([]byte, 1000)))
				synctest.Wait()
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Equal(t, before, sends)
			require.Equal(t, turns, s.Engine.Stats().Loops[0].Turns)
			got, err := drain(peer)
			require.Equal(t, systest.ErrWouldBlock, err)
			require.Len(t, got, 102_000)
		})
	})
}

// What becomes of a connection's queue shows in its Stats, and the observer is told in the end, when what was left is sent or dropped.
func TestQueueIsObserved(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for _, policy := range []coserver.QueuePolicy{coserver.DropNewest, coserver.DropOldest} {
			for _, inTime := range []bool{true, false} {
				w := newWitness()
				const most = 5 * (300 + perMessage)
				s := &coserver.Server{Carrier: carrier, MaxConns: 1, Overflow: coserver.Refuse, MaxQueued: most, QueuePolicy: policy, Observer: w.observer()}
				queueing(t, s, parts()[:1], wait, func(c *coserver.Conn, peer *systest.Peer) {
					require.Zero(t, c.Stats().Queued)
					room := 0
					for range 20 {
						if err := c.Enqueue(make([]byte, 300)); err == nil {
							room++
						} else if !errors.Is(err, coserver.ErrQueueFull) {
							t.Fatal(err)
						}
						synctest.Wait()
					}
					stats := c.Stats()
					require.LessOrEqual(t, stats.Queued, most)
					require.Greater(t, stats.Queued, most-300-perMessage)
					require.Equal(t, stats.Queued, s.Stats().Queues.Queued)
					require.Equal(t, stats.Queued, c.Queued())
					require.True(t, stats.Writes)
					require.NotZero(t, stats.Refused+stats.Dropped)
					require.Equal(t, policy == coserver.DropOldest, stats.Dropped > 0)
					require.EqualValues(t, 20-room, stats.Refused)
					require.Equal(t, stats.Refused, s.Stats().Queues.Refused)
					require.Equal(t, stats.Dropped, s.Stats().Queues.Dropped)

					require.NoError(t, c.Close())
					time.Sleep(4 * time.Second) // of simulated time: less than the queue may linger
					synctest.Wait()
					require.Empty(t, w.closed, "the queue is not over")
					require.Equal(t, 1, s.Stats().Active)
					for other := range s.Conns() {
						require.Same(t, c, other)
					}
					if conns, _ := coserver.Admitted(s); conns != 1 {
						t.Fatal("its place was given away while it has a descriptor")
					}
					lost := uint64(0)
					if inTime {
						drain(peer)
					} else {
						time.Sleep(2 * time.Second)
						synctest.Wait()
						lost = s.Stats().Queues.Lost
						require.NotZero(t, lost)
					}
					time.Sleep(time.Second)
					synctest.Wait()
					require.Same(t, c, <-w.closed)
					ending := <-w.endings
					require.Equal(t, stats.Refused, ending.Refused)
					require.Equal(t, stats.Dropped, ending.Dropped)
					require.Equal(t, lost, ending.Lost)
					if inTime {
						require.EqualValues(t, 300*(1+room-int(stats.Dropped)), ending.Sent, "also what was sent after Close")
					}
					require.Empty(t, w.closed)
					require.Zero(t, s.Stats().Active)
					conns, _ := coserver.Admitted(s)
					require.Zero(t, conns)
				})
			}
		}
	})
}

// With a DrainRate connections end one by one, and each with all that is queued for it.
func TestDrainSendsWhatIsQueued(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		const conns = 5
		s := &coserver.Server{Carrier: carrier, DrainRate: 1}
		s.Handler = func(c *coserver.Conn) error {
			for _, m := range parts() {
				if err := c.Enqueue([]byte(m)); err != nil {
					return err
				}
			}
			return wait(c)
		}
		onFakeServer(t, tiny, s, func(f *fake) {
			var peers []*systest.Peer
			for range conns {
				peers = append(peers, f.connect())
			}
			ended := make(chan error, 1)
			begin := time.Now()
			go func() { ended <- s.Shutdown(context.Background()) }()
			time.Sleep(7 * time.Second)
			require.Empty(t, ended, "nobody has taken anything")
			for _, peer := range peers {
				got, err := drain(peer)
				require.Equal(t, strings.Join(parts(), ""), got)
				require.ErrorContains(t, err, "EOF")
				peer.Close()
			}
			require.NoError(t, <-ended)
			require.Less(t, time.Since(begin), 10*time.Second)
			require.Zero(t, s.Stats().Queues.Lost)
		})
	})
}
