package coserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/sys/systest"
)

// What is enqueued is delivered after Close and after the handler's return, if the peer takes it in time, and then comes the end.
func TestCloseSendsWhatIsEnqueued(t *testing.T) {
	ends := map[string]func(c *coserver.Conn) error{
		"return": func(*coserver.Conn) error { return nil },
		"error":  func(*coserver.Conn) error { return io.EOF },
		"close": func(c *coserver.Conn) error {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if err := c.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a second Close: %v", err)
			}
			if err := c.Enqueue([]byte("late")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Enqueue after Close: %v", err)
			}
			return nil
		},
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, end := range ends {
			t.Run(name, func(t *testing.T) {
				s := &coserver.Server{Carrier: carrier}
				queueing(t, s, parts(), end, func(c *coserver.Conn, peer *systest.Peer) {
					_, err := peer.Write([]byte("unread input, which must not destroy anything"))
					require.NoError(t, err)
					require.NotZero(t, c.Queued())
					time.Sleep(4 * time.Second) // of simulated time: less than the queue may linger
					got, err := drain(peer)
					require.Equal(t, strings.Join(parts(), ""), got)
					require.Equal(t, io.EOF, err)
					require.Zero(t, s.Stats().Queues.Lost)
				})
			})
		}
	})
}

// A peer that does not take what is left within five seconds is cut off by a reset: an end would look as if that were all.
func TestCloseGivesUp(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier}
		queueing(t, s, parts(), (*coserver.Conn).Close, func(c *coserver.Conn, peer *systest.Peer) {
			time.Sleep(4900 * time.Millisecond) // of simulated time: just less than the queue may linger
			synctest.Wait()
			require.NotZero(t, c.Queued())
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
			require.Zero(t, c.Queued())
			_, err := drain(peer)
			require.Equal(t, syscall.ECONNRESET, err)
			require.EqualValues(t, 7, s.Stats().Queues.Lost) // three have begun to be sent, the fourth partly: see tiny
		})
	})
}

// What drops the queue at once resets the connection.
func TestQueueIsCut(t *testing.T) {
	ends := map[string]func(c *coserver.Conn) error{
		"panic":  func(*coserver.Conn) error { panic(errTest) },
		"linger": func(c *coserver.Conn) error { return errors.Join(c.SetLinger(0), c.Close()) },
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, end := range ends {
			t.Run(name, func(t *testing.T) {
				s := &coserver.Server{Carrier: carrier, OnError: func(*coserver.Conn, error) {}}
				queueing(t, s, parts(), end, func(c *coserver.Conn, peer *systest.Peer) {
					require.Zero(t, c.Queued())
					_, err := drain(peer)
					require.Equal(t, syscall.ECONNRESET, err)
				})
			})
		}
		t.Run("server", func(t *testing.T) {
			s := &coserver.Server{Carrier: carrier}
			queueing(t, s, parts(), wait, func(c *coserver.Conn, peer *systest.Peer) {
				require.NoError(t, s.Close())
				synctest.Wait()
				_, err := drain(peer)
				require.Equal(t, syscall.ECONNRESET, err)
			})
		})
	})
}

// An engine that is closed does not wait for queues that linger.
func TestEngineClosesWithAQueue(t *testing.T) {
	for _, dialled := range []bool{false, true} {
		engine, err := coserver.NewEngine(coserver.EngineConfig{Loops: 1})
		require.NoError(t, err)
		ln, err := engine.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		dialer := &coserver.Dialer{Engine: engine}
		client, err := dialer.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		accepted, err := ln.Accept()
		require.NoError(t, err)
		c := accepted.(*coserver.Conn)
		if dialled {
			c, client = client.(*coserver.Conn), accepted
		}
		narrow(t, c, client)
		stall(t, c, make([]byte, 100_000))
		require.NoError(t, c.Close())
		require.NotZero(t, c.Queued())
		begin := time.Now()
		require.NoError(t, engine.Close())
		require.Less(t, time.Since(begin), 4*time.Second)
		require.Zero(t, c.Queued())
	}
}

// A Write that Close cuts short ends what can be sent: what was enqueued behind it does not follow half a message, and the peer sees
// that something is missing.
func TestNothingFollowsHalfAWrite(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier}
		queueing(t, s, nil, func(c *coserver.Conn) error {
			n, err := c.Write(bytes.Repeat([]byte("half"), 1000))
			if !errors.Is(err, net.ErrClosed) || n == 0 || n == 4000 {
				t.Errorf("Write: %d, %v", n, err)
			}
			return nil
		}, func(c *coserver.Conn, peer *systest.Peer) {
			require.NoError(t, c.Enqueue([]byte("follows")))
			written := make(chan error, 1)
			go func() {
				_, err := c.Write([]byte("in line"))
				written <- err
			}()
			synctest.Wait()
			require.NoError(t, c.Enqueue([]byte("comes last")))
			require.NoError(t, c.Close())
			synctest.Wait()
			require.ErrorIs(t, <-written, net.ErrClosed)
			got, err := drain(peer)
			require.Empty(t, strings.ReplaceAll(got, "half", ""))
			require.Equal(t, syscall.ECONNRESET, err)
			require.EqualValues(t, 2, s.Stats().Queues.Lost)
		})
	})
}

// Calls in line behind a queue that does not move are woken by Close at once, though the queue goes on.
func TestCloseWakesThoseBehindAQueue(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier}
		queueing(t, s, parts(), func(c *coserver.Conn) error {
			if _, err := c.Write([]byte("behind it")); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			return nil
		}, func(c *coserver.Conn, peer *systest.Peer) {
			flushed := make(chan error, 1)
			go func() { flushed <- c.Flush() }()
			synctest.Wait()
			require.NoError(t, c.Enqueue([]byte("the end")))
			require.NoError(t, c.Close())
			require.ErrorIs(t, <-flushed, net.ErrClosed)
			synctest.Wait()
			got, err := drain(peer)
			require.Equal(t, strings.Join(parts(), "")+"the end", got)
			require.Equal(t, io.EOF, err)
		})
	})
}

// A write deadline that passes while something is queued closes the connection, whether it was there before or is set meanwhile, and
// whoever stands in line is told that it was the deadline.
func TestWriteDeadlineEndsAQueue(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for _, after := range []time.Duration{time.Second, -time.Second} {
			s := &coserver.Server{Carrier: carrier}
			var cause error
			queueing(t, s, parts(), func(c *coserver.Conn) error {
				ctx := c.Context()
				if err := c.SetWriteDeadline(time.Now().Add(after)); err != nil {
					return err
				}
				_, err := c.Write([]byte("behind it"))
				requireTimeout(t, err)
				cause = context.Cause(ctx)
				return nil
			}, func(c *coserver.Conn, peer *systest.Peer) {
				time.Sleep(2 * time.Second)
				synctest.Wait()
				require.ErrorIs(t, cause, os.ErrDeadlineExceeded)
				_, err := drain(peer)
				require.Equal(t, syscall.ECONNRESET, err)
				require.EqualValues(t, 1, s.Stats().Queues.TimedOut)
			})
		}
	})
}

// The same if it is a Write that the deadline ends: what is enqueued does not come in the middle of its message.
func TestWriteDeadlineBeforeAQueue(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier}
		queueing(t, s, nil, func(c *coserver.Conn) error {
			if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				return err
			}
			n, err := c.Write(bytes.Repeat([]byte("half"), 1000))
			requireTimeout(t, err)
			if err := c.SetWriteDeadline(time.Time{}); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			for isTimeout(err) { // the first may still tell of that deadline
				_, err = c.Write(bytes.Repeat([]byte("half"), 1000)[n:])
			}
			if !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			return nil
		}, func(c *coserver.Conn, peer *systest.Peer) {
			require.NoError(t, c.Enqueue([]byte("follows")))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			got, err := drain(peer)
			require.Empty(t, strings.ReplaceAll(got, "half", ""))
			require.Equal(t, syscall.ECONNRESET, err)
		})
	})
}

// Shutdown waits until what is queued is sent, however long that takes, or until its deadline.
func TestShutdownWaitsForQueues(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, end := range map[string]func(*coserver.Conn) error{"waits": wait, "returned": func(*coserver.Conn) error { return nil }} {
			for _, inTime := range []bool{true, false} {
				s := &coserver.Server{Carrier: carrier}
				queueing(t, s, parts(), end, func(c *coserver.Conn, peer *systest.Peer) {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					shut := make(chan error, 1)
					go func() { shut <- s.Shutdown(ctx) }()
					time.Sleep(50 * time.Second)
					require.Empty(t, shut, name)
					if inTime {
						got, err := drain(peer)
						require.Equal(t, strings.Join(parts(), ""), got, name)
						require.Equal(t, io.EOF, err)
						require.NoError(t, <-shut)
						return
					}
					time.Sleep(11 * time.Second)
					require.ErrorIs(t, <-shut, context.DeadlineExceeded)
					synctest.Wait()
					_, err := drain(peer)
					require.Equal(t, syscall.ECONNRESET, err)
				})
			}
		}
	})
}
