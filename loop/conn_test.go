package loop_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
)

func TestCallbackOrder(t *testing.T) {
	for _, network := range []string{"tcp", "tcp6", "unix"} {
		t.Run(network, func(t *testing.T) {
			e := newEngine(t, loop.Config{})
			var events trace
			closed := make(chan error, 1)
			ln := startService(t, e, network, loop.Service{Handler: callbacks{
				open:  func(*loop.Conn) { events.add("open") },
				data:  func(c *loop.Conn, data []byte) { events.add("data " + string(data)); echo(c, data) },
				close: func(_ *loop.Conn, err error) { events.add("close"); closed <- err },
			}})
			c := dial(t, ln.Addr())
			exchange(t, c, "one")
			exchange(t, c, "two")
			require.NoError(t, c.Close())
			require.Equal(t, io.EOF, receive(t, closed))
			require.Equal(t, []string{"open", "data one", "data two", "close"}, events.all())
		})
	}
}

// Each connection's callbacks come one at a time and in order, each end once, whatever its peer does; faults.md L6, L9.
func TestCallbackOrderUnderChurn(t *testing.T) {
	const clients, rounds = 16, 60
	e := newEngine(t, loop.Config{})
	type state struct {
		busy   atomic.Bool
		closed bool
	}
	var open, ended atomic.Int64
	enter := func(c *loop.Conn) *state {
		s, _ := c.Value().(*state)
		if s == nil || s.closed || s.busy.Swap(true) {
			t.Error("callback out of order")
			return new(state)
		}
		return s
	}
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{
		open: func(c *loop.Conn) {
			open.Add(1)
			if c.Value() != nil {
				t.Error("OnOpen came twice")
			}
			c.SetValue(new(state))
		},
		data: func(c *loop.Conn, data []byte) {
			s := enter(c)
			defer s.busy.Store(false)
			echo(c, data)
			if bytes.Contains(data, []byte("end")) {
				go c.Close()
				go c.CloseNow()
			}
		},
		close: func(c *loop.Conn, _ error) {
			s := enter(c)
			s.closed = true
			s.busy.Store(false)
			ended.Add(1)
		},
	}})
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for j := range rounds {
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				switch (i + j) % 4 {
				case 0: // data with the handshake, and a reset
					io.WriteString(c, "reset")
					c.(*net.TCPConn).SetLinger(0)
				case 1:
					io.WriteString(c, "end")
					io.Copy(io.Discard, c)
				case 2:
					io.WriteString(c, strings.Repeat("x", 100_000))
				}
				c.Close()
			}
		})
	}
	all.Wait()
	require.NoError(t, e.Close())
	require.Equal(t, open.Load(), ended.Load())
	require.LessOrEqual(t, open.Load(), int64(clients*rounds))
}

// faults.md, Loop: 1,000 concurrent writers, each message whole, each writer's in order.
func TestConcurrentWriters(t *testing.T) {
	const writers, messages, size = 1000, 5, 100
	e := newEngine(t, loop.Config{})
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{open: func(c *loop.Conn) {
		for w := range writers {
			go func() {
				for m := range messages {
					if _, err := c.Write(fmt.Appendf(nil, "%0*d", size, w*messages+m)); err != nil {
						t.Error(err)
					}
				}
			}()
		}
	}}})
	c := dial(t, ln.Addr())
	next := make([]int, writers)
	message := make([]byte, size)
	for range writers * messages {
		_, err := io.ReadFull(c, message)
		require.NoError(t, err)
		var number int
		_, err = fmt.Sscanf(string(message), "%d", &number)
		require.NoError(t, err)
		require.Equal(t, next[number/messages], number%messages)
		next[number/messages]++
	}
}

// What is written in one callback arrives whole and in order with what other goroutines write, also when it has to wait.
func TestQueuedOutput(t *testing.T) {
	const size = 8 << 20
	e := newEngine(t, loop.Config{Loops: 1})
	ln := startService(t, e, "tcp", loop.Service{MaxQueued: 2 * size, Handler: callbacks{data: func(c *loop.Conn, data []byte) {
		for range size / (1 << 10) {
			c.Write(bytes.Repeat(data[:1], 1<<10))
		}
		if c.Queued() < size {
			t.Errorf("%d bytes are queued", c.Queued())
		}
	}}})
	c := dial(t, ln.Addr())
	_, err := io.WriteString(c, "a")
	require.NoError(t, err)
	other := dial(t, ln.Addr()) // is served while the first does not read
	_, err = io.WriteString(other, "b")
	require.NoError(t, err)
	for conn, want := range map[net.Conn]string{other: "b", c: "a"} {
		got := make([]byte, size)
		_, err = io.ReadFull(conn, got)
		require.NoError(t, err)
		require.Equal(t, size, bytes.Count(got, []byte(want)))
	}
}

func TestQueueIsBounded(t *testing.T) {
	e := newEngine(t, loop.Config{})
	const limit = 100_000
	refused := make(chan error, 1)
	marks := make(chan bool, 2)
	handler := pressured{
		callbacks: callbacks{data: func(c *loop.Conn, data []byte) {
			go func() {
				for block := make([]byte, 10_000); ; {
					if _, err := c.Write(block); err != nil {
						if c.Queued() > limit {
							t.Errorf("%d bytes are queued", c.Queued())
						}
						refused <- err
						return
					}
				}
			}()
		}},
		pressure: func(_ *loop.Conn, high bool) { marks <- high },
	}
	ln := startService(t, e, "tcp", loop.Service{Handler: handler, MaxQueued: limit, HighWater: limit / 2, LowWater: limit / 4})
	c := dial(t, ln.Addr())
	_, err := io.WriteString(c, "go")
	require.NoError(t, err)
	require.ErrorIs(t, receive(t, refused), loop.ErrQueueFull)
	require.True(t, receive(t, marks))
	go io.Copy(io.Discard, c)
	require.False(t, receive(t, marks))
}

func TestPauseAndResume(t *testing.T) {
	e := newEngine(t, loop.Config{})
	conns := make(chan *loop.Conn, 1)
	got := make(chan string, 10)
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{
		open: func(c *loop.Conn) { c.Pause(); conns <- c },
		data: func(c *loop.Conn, data []byte) { got <- string(data); c.Pause() },
	}})
	client := dial(t, ln.Addr())
	c := receive(t, conns)
	_, err := io.WriteString(client, "first")
	require.NoError(t, err)
	exchangeElsewhere(t, e)
	require.Empty(t, got)
	c.Resume()
	require.Equal(t, "first", receive(t, got))
	_, err = io.WriteString(client, "second")
	require.NoError(t, err)
	exchangeElsewhere(t, e)
	require.Empty(t, got)
	c.Resume()
	require.Equal(t, "second", receive(t, got))
}

// A connection that is paused and resumed while nothing comes goes on as before.
func TestResumeWithNothingToRead(t *testing.T) {
	e := newEngine(t, loop.Config{Loops: 1})
	conns := make(chan *loop.Conn, 1)
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{open: func(c *loop.Conn) { conns <- c }, data: echo}})
	client := dial(t, ln.Addr())
	c := receive(t, conns)
	exchange(t, client, "before")
	for range 3 {
		c.Pause()
		c.Resume()
		exchangeElsewhere(t, e)
		exchange(t, client, "after")
	}
}

// exchangeElsewhere returns when every loop has had a turn after the call.
func exchangeElsewhere(t *testing.T, e *loop.Engine) {
	for i := range e.Loops() {
		for range 2 {
			turn := make(chan struct{})
			require.True(t, e.Loop(i).Post(runner(func() { close(turn) })))
			receive(t, turn)
		}
	}
}

type runner func()

func (r runner) RunOnLoop() { r() }

// faults.md, Loop: a FIN, then a late reply.
func TestAnswerAfterEOF(t *testing.T) {
	e := newEngine(t, loop.Config{})
	ln := startService(t, e, "tcp", loop.Service{Handler: halfOpen{eof: func(c *loop.Conn) {
		go func() {
			c.Write([]byte("late answer"))
			c.Close()
		}()
	}}})
	c := dial(t, ln.Addr())
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "late answer", string(answer))
}

// Close sends what is queued first.
func TestCloseSendsWhatIsQueued(t *testing.T) {
	e := newEngine(t, loop.Config{})
	closed := make(chan error, 1)
	const size = 8 << 20
	ln := startService(t, e, "tcp", loop.Service{MaxQueued: size, Handler: callbacks{
		open: func(c *loop.Conn) {
			c.Write(make([]byte, size))
			c.Close()
			if _, err := c.Write([]byte("late")); err != net.ErrClosed {
				t.Error(err)
			}
		},
		close: func(_ *loop.Conn, err error) { closed <- err },
	}})
	c := dial(t, ln.Addr())
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Len(t, all, size)
	require.NoError(t, receive(t, closed))
}

func TestPanicAndGoexitEndOneConnection(t *testing.T) {
	for name, fall := range map[string]func(){"panic": func() { panic("test") }, "Goexit": runtime.Goexit} {
		for _, callback := range []string{"open", "data", "close"} {
			t.Run(name+"/"+callback, func(t *testing.T) {
				e := newEngine(t, loop.Config{Loops: 1})
				var fell atomic.Int64
				closed := make(chan error, 2)
				falls := func(c *loop.Conn, where string) {
					if where == callback && fell.Add(1) == 1 {
						fall()
					}
				}
				ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{
					open:  func(c *loop.Conn) { falls(c, "open") },
					data:  func(c *loop.Conn, data []byte) { falls(c, "data"); echo(c, data) },
					close: func(c *loop.Conn, err error) { closed <- err; falls(c, "close") },
				}})
				c := dial(t, ln.Addr())
				io.WriteString(c, "x")
				if callback == "close" {
					c.Close()
				} else {
					_, err := c.Read(make([]byte, 1))
					require.Error(t, err)
				}
				err := receive(t, closed)
				if callback != "close" {
					require.ErrorContains(t, err, "panicked")
				}
				exchange(t, dial(t, ln.Addr()), "the loop goes on")
			})
		}
	}
}

func TestAddressesAndValue(t *testing.T) {
	e := newEngine(t, loop.Config{})
	conns := make(chan *loop.Conn, 1)
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{open: func(c *loop.Conn) { conns <- c }}})
	client := dial(t, ln.Addr())
	c := receive(t, conns)
	require.Equal(t, client.LocalAddr().String(), c.RemoteAddr().String())
	require.Equal(t, client.RemoteAddr().String(), c.LocalAddr().String())
	require.Nil(t, c.Value())
	c.SetValue("kept")
	require.Equal(t, "kept", c.Value())
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Close(), net.ErrClosed)
}
