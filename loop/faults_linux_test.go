package loop_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/sys/systest"
)

// faults.md P3: a duplicate of the descriptor is held elsewhere. The registration ends before the descriptor does, so
// nothing that happens to the duplicate wakes the loop.
func TestDuplicateHeldElsewhere(t *testing.T) {
	conns := make(chan *loop.Conn, 1)
	onFake(t, systest.Options{}, callbacks{open: func(c *loop.Conn) { conns <- c }}, func(f *fake) {
		peer := f.connect()
		duplicate := -1
		for fd, name := range f.kernel.Open() {
			if strings.HasPrefix(name, "connection") {
				var errno syscall.Errno
				duplicate, errno = f.kernel.Duplicate(fd)
				require.Zero(f, errno)
			}
		}
		require.NotEqual(f, -1, duplicate)
		require.NoError(f, (<-conns).CloseNow())
		synctest.Wait()
		before := f.kernel.waits.Load()
		for range 100 {
			_, err := peer.Write([]byte("x"))
			require.NoError(f, err)
			synctest.Wait()
		}
		peer.Reset()
		require.Zero(f, f.waitsIn(time.Second))
		require.Equal(f, before, f.kernel.waits.Load())
		require.Zero(f, f.kernel.Kernel.Close(duplicate))
	})
}

// faults.md P4: a connection that is not read is reset. The loop does not spin; the reset shows when reading goes on.
func TestResetWhilePaused(t *testing.T) {
	conns := make(chan *loop.Conn, 1)
	closed := make(chan error, 1)
	onFake(t, systest.Options{}, callbacks{
		open:  func(c *loop.Conn) { c.Pause(); conns <- c },
		close: func(_ *loop.Conn, err error) { closed <- err },
	}, func(f *fake) {
		peer := f.connect()
		f.send(peer, []byte("unread"))
		peer.Reset()
		require.Less(f, f.waitsIn(time.Second), int64(50))
		require.Empty(f, closed)
		(<-conns).Resume()
		synctest.Wait()
		require.ErrorIs(f, <-closed, syscall.ECONNRESET)
	})
}

// faults.md P5: every second call is interrupted, close too, which must not be made again.
func TestInterruptedCalls(t *testing.T) {
	onFake(t, systest.Options{Seed: 1, Faults: systest.Faults{Interrupt: 500}}, callbacks{data: echo}, func(f *fake) {
		for range 50 {
			peer := f.connect()
			f.exchange(peer, "interrupted")
			peer.Close()
			synctest.Wait()
		}
	})
}

// faults.md P9: no wake-up is lost, also with an event counter that takes no more.
func TestPostsFromManyGoroutines(t *testing.T) {
	const goroutines, posts = 64, 200
	onFake(t, systest.Options{}, callbacks{}, func(f *fake) {
		f.kernel.SaturateEventfds()
		var ran atomic.Int64
		var all sync.WaitGroup
		for range goroutines {
			all.Go(func() {
				for range posts {
					done := make(chan struct{})
					if !f.engine.Loop(0).Post(runner(func() { ran.Add(1); close(done) })) {
						t.Error("not taken")
						return
					}
					<-done // a bubble in which all wait ends the test
				}
			})
		}
		all.Wait()
		require.EqualValues(f, goroutines*posts, ran.Load())
	})
}

// faults.md P11: events without anything behind them close nothing and make nothing spin.
func TestSpuriousEvents(t *testing.T) {
	onFake(t, systest.Options{Seed: 2, Faults: systest.Faults{Spurious: 500}}, callbacks{data: echo}, func(f *fake) {
		var peers []*systest.Peer
		for range 10 {
			peers = append(peers, f.connect())
		}
		for range 50 {
			for _, peer := range peers {
				f.exchange(peer, "still here")
			}
		}
		f.kernel.SetFaults(systest.Faults{})
		require.LessOrEqual(f, f.waitsIn(time.Second), int64(1))
	})
}

// faults.md P12: an error and room to write come in one event while output waits. The error is told once, and nothing is
// sent any more.
func TestErrorWhileOutputWaits(t *testing.T) {
	conns := make(chan *loop.Conn, 1)
	var causes []error
	onFake(t, systest.Options{SendBuffer: 1000, Window: 1000}, callbacks{
		open:  func(c *loop.Conn) { conns <- c; c.Write(make([]byte, 100_000)) },
		close: func(_ *loop.Conn, err error) { causes = append(causes, err) },
	}, func(f *fake) {
		peer := f.connect()
		c := <-conns
		require.Positive(f, c.Queued())
		peer.Reset()
		synctest.Wait()
		require.Len(f, causes, 1)
		require.ErrorIs(f, causes[0], syscall.ECONNRESET)
		sends := f.kernel.sends.Load()
		_, err := c.Write([]byte("late"))
		require.ErrorIs(f, err, net.ErrClosed)
		synctest.Wait()
		require.Equal(f, sends, f.kernel.sends.Load())
	})
}

// faults.md L4: a connection that has used up its share is read to the end although no further event comes, and others
// have their turn before that.
func TestReadBudget(t *testing.T) {
	const size = 1 << 20
	var order []byte
	var conns []*loop.Conn
	got := 0
	onFake(t, systest.Options{Window: 2 * size, SendBuffer: 2 * size}, callbacks{
		open: func(c *loop.Conn) { c.Pause(); conns = append(conns, c) },
		data: func(_ *loop.Conn, data []byte) {
			if got += len(data); len(order) == 0 || order[len(order)-1] != data[0] {
				order = append(order, data[0])
			}
		},
	}, func(f *fake) {
		_, err := f.connect().Write(bytes.Repeat([]byte("a"), size))
		require.NoError(f, err)
		_, err = f.connect().Write([]byte("b"))
		require.NoError(f, err)
		synctest.Wait()
		f.engine.Loop(0).Post(runner(func() { // both in one turn
			for _, c := range conns {
				c.Resume()
			}
		}))
		synctest.Wait()
		require.Equal(f, size+1, got)
		require.Equal(f, "aba", string(order))
	})
}

// faults.md L6: everything that can end a connection comes at once. It ends once, and its descriptor is closed once.
func TestEndsComeTogether(t *testing.T) {
	const rounds, closers = 200, 16
	conns := make(chan *loop.Conn, 1)
	var opened, ended int
	onFake(t, systest.Options{}, callbacks{
		open: func(c *loop.Conn) { opened++; conns <- c },
		data: func(c *loop.Conn, _ []byte) {
			c.Loop().SetTimer(new(loop.Timer), c.Loop().Now()+int64(time.Millisecond), runner(func() { c.CloseNow() }))
		},
		close: func(*loop.Conn, error) { ended++ },
	}, func(f *fake) {
		for range rounds {
			peer := f.connect()
			f.send(peer, []byte("x"))
			c := <-conns
			var all sync.WaitGroup
			for i := range closers {
				all.Go(func() {
					time.Sleep(time.Millisecond) // until the timer's own time
					if i%2 == 0 {
						c.Close()
					} else {
						c.CloseNow()
					}
				})
			}
			all.Go(func() {
				time.Sleep(time.Millisecond)
				peer.Reset()
			})
			all.Wait()
			synctest.Wait()
		}
		require.Equal(f, rounds, opened)
		require.Equal(f, rounds, ended)
	})
}

// faults.md L7: a callback may close its connection, and others, while it holds a lock that OnClose takes.
func TestCloseWithALockHeld(t *testing.T) {
	var mu sync.Mutex
	var conns []*loop.Conn
	ended := 0
	onFake(t, systest.Options{}, callbacks{
		open: func(c *loop.Conn) {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, c)
		},
		data: func(c *loop.Conn, _ []byte) {
			mu.Lock()
			defer mu.Unlock()
			for _, c := range conns {
				c.Write([]byte("bye"))
				c.Close()
				c.CloseNow()
			}
		},
		close: func(*loop.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			ended++
		},
	}, func(f *fake) {
		f.connect()
		f.send(f.connect(), []byte("x"))
		synctest.Wait()
		require.Equal(f, 2, ended)
	})
}

// faults.md L8: timers fire in the order of their times, and late by no more than the loop was busy; a loop without timers
// does not wake up.
func TestTimersOfABusyLoop(t *testing.T) {
	const equal, busy = 10_000, 200 * time.Millisecond
	onFake(t, systest.Options{}, callbacks{}, func(f *fake) {
		l := f.engine.Loop(0)
		due := l.Now() + int64(50*time.Millisecond)
		var fired []int64
		l.Post(runner(func() {
			for i := range equal + 100 {
				when := due
				if i >= equal {
					when += int64(i%7-3) * int64(time.Millisecond)
				}
				l.SetTimer(new(loop.Timer), when, runner(func() {
					fired = append(fired, when)
					if late := l.Now() - when; late < 0 || late > int64(busy) {
						t.Errorf("%v late", time.Duration(late))
					}
				}))
			}
			time.Sleep(busy)
		}))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(f, fired, equal+100)
		require.IsNonDecreasing(f, fired)
		require.Zero(f, f.waitsIn(time.Hour))
	})
}

// faults.md L9: data comes with the handshake, and a reset before the connection is opened.
func TestResetBeforeOpen(t *testing.T) {
	var events []string
	onFake(t, systest.Options{}, callbacks{
		open: func(*loop.Conn) { events = append(events, "open") },
		data: func(_ *loop.Conn, data []byte) { events = append(events, string(data)) },
		close: func(_ *loop.Conn, err error) {
			require.ErrorIs(t, err, syscall.ECONNRESET)
			events = append(events, "close")
		},
	}, func(f *fake) {
		f.ln.Pause()
		peer := f.connect()
		f.send(peer, []byte("data"))
		peer.Reset()
		f.ln.Resume()
		synctest.Wait()
		require.Contains(f, [][]string{{"open", "close"}, {"open", "data", "close"}}, events)
	})
}

// faults.md L11: the peer is gone and the program goes on writing. It is told so by an error; no signal ends it.
func TestWritesToAConnectionThatIsReset(t *testing.T) {
	e := newEngine(t, loop.Config{Loops: 1})
	conns := make(chan *loop.Conn, 1)
	closed := make(chan error, 1)
	ln := startService(t, e, "tcp", loop.Service{Handler: halfOpen{callbacks: callbacks{
		open:  func(c *loop.Conn) { c.Pause(); conns <- c },
		close: func(_ *loop.Conn, err error) { closed <- err },
	}}})
	client := dial(t, ln.Addr())
	c := receive(t, conns)
	require.NoError(t, client.(*net.TCPConn).SetLinger(0))
	require.NoError(t, client.Close())
	refused := 0
	for range 100 {
		if _, err := c.Write([]byte("anybody there?")); err != nil {
			require.ErrorIs(t, err, net.ErrClosed)
			refused++
		}
		exchangeElsewhere(t, e)
	}
	require.Positive(t, refused)
	err := receive(t, closed)
	require.True(t, errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET), err)
}

// faults.md L12: the peer does not read, and output is queued when the connection is closed. The loop goes on; the
// patience with the peer ends.
func TestCloseWithAPeerThatDoesNotRead(t *testing.T) {
	var ended time.Time
	onFake(t, systest.Options{SendBuffer: 1000, Window: 1000}, callbacks{
		data: func(c *loop.Conn, data []byte) {
			if string(data) != "flood" {
				echo(c, data)
				return
			}
			c.Write(make([]byte, 1<<20))
			c.Close()
		},
		close: func(_ *loop.Conn, err error) { ended = time.Now() },
	}, func(f *fake) {
		begin := time.Now()
		f.send(f.connect(), []byte("flood"))
		f.exchange(f.connect(), "the loop goes on")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(f, 5*time.Second, ended.Sub(begin))
		require.Equal(f, 1, f.connections(), "the other one")
	})
}

// faults.md, Loop: 1 MB sent, then closed, arrives whole with a slow reader.
func TestSlowReaderGetsAllBeforeTheEnd(t *testing.T) {
	const size = 1 << 20
	onFake(t, systest.Options{SendBuffer: 10_000, Window: 10_000}, callbacks{open: func(c *loop.Conn) {
		c.Write(bytes.Repeat([]byte("0123456789abcdef"), size/16))
		c.Close()
	}}, func(f *fake) {
		peer := f.connect()
		var all []byte
		for buffer := make([]byte, 1000); ; {
			n, err := peer.Read(buffer)
			all = append(all, buffer[:n]...)
			if err == io.EOF {
				break
			}
			require.True(f, err == nil || err == systest.ErrWouldBlock, err)
			time.Sleep(time.Millisecond)
		}
		require.True(f, bytes.Equal(bytes.Repeat([]byte("0123456789abcdef"), size/16), all))
	})
}

// What was written before Close arrives also if input comes that the loop does not know of: its event has not been
// handled, or it comes after the close, or it was not read before the peer's end.
func TestCloseWithUnknownInput(t *testing.T) {
	for name, input := range map[string]func(*fake, *systest.Peer, *loop.Conn){
		"before": func(f *fake, peer *systest.Peer, c *loop.Conn) {
			l := f.engine.Loop(0)
			l.Post(runner(func() {
				c.Write([]byte("answer"))
				// In the turn that also closes, after the events of that turn.
				l.Post(runner(func() { peer.Write([]byte("unread")) }))
				c.Close()
			}))
		},
		"after": func(f *fake, peer *systest.Peer, c *loop.Conn) {
			c.Write([]byte("answer"))
			c.Close()
			synctest.Wait()
			peer.Write([]byte("late"))
		},
		"paused": func(f *fake, peer *systest.Peer, c *loop.Conn) {
			c.Pause()
			f.send(peer, []byte("unread"))
			peer.CloseWrite()
			synctest.Wait()
			c.Write([]byte("answer"))
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			conns := make(chan *loop.Conn, 1)
			onFake(t, systest.Options{}, callbacks{open: func(c *loop.Conn) { conns <- c }}, func(f *fake) {
				peer := f.connect()
				input(f, peer, <-conns)
				answer, err := f.receive(peer)
				require.Equal(f, "answer", string(answer))
				require.Equal(f, io.EOF, err)
			})
		})
	}
}

// A storm on few descriptors: each number is used again at once, by connections whose predecessors are still being closed
// and written to, and there are never enough.
func TestDescriptorStorm(t *testing.T) {
	const clients, descriptors = 500, 8
	onFake(t, systest.Options{MaxDescriptors: descriptors}, callbacks{data: func(c *loop.Conn, data []byte) {
		c.Write(data)
		go func() {
			c.Close()
			c.Write([]byte("never"))
			c.CloseNow()
		}()
	}}, func(f *fake) {
		for i := 0; i < clients; i += 20 {
			var peers []*systest.Peer
			for range 20 { // in the backlog, mostly
				peer := f.connect()
				_, err := peer.Write([]byte(peer.Addr().String()))
				require.NoError(f, err)
				peers = append(peers, peer)
			}
			for _, peer := range peers {
				for {
					answer, err := f.receive(peer)
					if err == systest.ErrWouldBlock { // no descriptor yet: accepting pauses
						time.Sleep(10 * time.Millisecond)
						continue
					}
					if len(answer) > 0 { // CloseNow may come before it is sent
						require.Equal(f, peer.Addr().String(), string(answer))
					}
					peer.Close()
					break
				}
			}
		}
	})
}

// connections is how many the server has open.
func (f *fake) connections() int {
	n := 0
	for _, name := range f.kernel.Open() {
		if strings.HasPrefix(name, "connection") {
			n++
		}
	}
	return n
}
