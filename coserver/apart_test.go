package coserver_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// logged keeps what a logger has got.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSuffix(l.text.String(), "\n"), "\n")
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// talk sends lines on n connections, each when the last has been answered and a moment has passed, until the returned function is
// called.
func talk(t *testing.T, addr net.Addr, n int) (stop func()) {
	var group sync.WaitGroup
	over := make(chan struct{})
	for i := range n {
		c := dial(t, addr)
		require.NoError(t, c.SetDeadline(time.Time{})) // other waits are bounded
		group.Go(func() {
			line := fmt.Sprintf("line of %d\n", i)
			answer := make([]byte, len(line))
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Millisecond): // the client thinks
				}
				if _, err := io.WriteString(c, line); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadFull(c, answer); err != nil || string(answer) != line {
					t.Errorf("%q, %v instead of %q", answer, err, line)
					return
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		close(over)
		group.Wait()
	})
}

// ask asks a handler of carriedLine, on a new connection, how it is carried.
func ask(addr net.Addr) (string, error) {
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "how\n"); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSuffix(answer, "\n"), err
}

// A server whose handlers block each time runs them apart from its loops before long, says so once, and has them on the loops
// again when they do not block any more. Another server on the same loops stays where it is.
func TestServerRunsApart(t *testing.T) {
	const blockFor = 10 * time.Millisecond
	// What takes less than an eighth of it counts as not blocking. By default, and on a busy machine, a run that does not block may
	// take that long, and then it is long until the handlers are back.
	engine := newEngine(t, coserver.EngineConfig{Loops: 2, TakeOverAfter: 4 * blockFor})
	var blocking atomic.Bool
	blocking.Store(true)
	slowLog, echoLog := new(logged), new(logged)
	slow := start(t, &coserver.Server{Engine: engine, Logger: slowLog.logger(), Handler: func(c *coserver.Conn) error {
		for {
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			if string(line) == "how\n" {
				line = []byte(coserver.Carried(c) + "\n")
			}
			if blocking.Load() {
				time.Sleep(blockFor) // the blocking itself
			}
			if _, err := c.Write(line); err != nil {
				return err
			}
		}
	}}, "tcp")
	echo := start(t, &coserver.Server{Engine: engine, Logger: echoLog.logger(), Handler: echoLine}, "tcp")
	defer talk(t, slow, 50)()
	defer talk(t, echo, 4)()

	eventually(t, func() bool { return engine.Stats().Apart > 0 }, "the handlers run apart")
	for range 10 { // one may be a probe
		eventually(t, func() bool {
			how, err := ask(slow)
			return err == nil && how == "goroutine"
		}, "a new connection has a goroutine")
	}
	require.EqualValues(t, 1, engine.Stats().Apart)

	blocking.Store(false)
	eventually(t, func() bool {
		for range 10 { // more than can be probes
			if how, err := ask(slow); err != nil || how != "inline" {
				return false
			}
		}
		return true
	}, "new connections are inline again")

	lines := slowLog.lines()
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], slow.String())
	require.Equal(t, []string{""}, echoLog.lines())
}

// What a handler has gathered arrives before the handler is done with whatever it does next, on each carrier, and also if it has
// been taken over before it gathered.
func TestGatheredOutputDoesNotWait(t *testing.T) {
	for _, carrier := range []coserver.Carrier{coserver.Auto, coserver.Inline, coserver.Channel} {
		for _, away := range []bool{false, true} {
			if away && carrier == coserver.Channel {
				continue // nobody can take its loop over
			}
			t.Run(fmt.Sprintf("%v, away %v", carrier, away), func(t *testing.T) {
				blocks := make(chan struct{})
				defer close(blocks) // however the test ends
				addr := start(t, &coserver.Server{Engine: oneLoop(t), Carrier: carrier, Handler: func(c *coserver.Conn) error {
					for {
						line, err := c.ReadSlice('\n')
						if err != nil {
							return err
						}
						switch string(line) {
						case "away\n":
							for coserver.Carried(c) != "apart" {
								time.Sleep(time.Millisecond) // the blocking itself
							}
						case "block\n":
							<-blocks
						}
						if _, err := c.Write(line); err != nil {
							return err
						}
					}
				}}, "tcp")
				c := dial(t, addr)
				first, second := "one\ntwo\n", "block\nthree\n"
				if away {
					first = "away\n" + first
				}
				for range 10 { // a handler that has been taken over before may be treated otherwise
					_, err := io.WriteString(c, first+second)
					require.NoError(t, err)
					got := make([]byte, len(first))
					_, err = io.ReadFull(c, got)
					require.NoError(t, err)
					require.Equal(t, first, string(got))
					blocks <- struct{}{}
					got = make([]byte, len(second))
					_, err = io.ReadFull(c, got)
					require.NoError(t, err)
					require.Equal(t, second, string(got))
				}
			})
		}
	}
}

// stuckLog is where a log line never gets through, until it is released.
type stuckLog struct{ begun, release chan struct{} }

func (l *stuckLog) Write(p []byte) (int, error) {
	close(l.begun)
	<-l.release
	return len(p), nil
}

// While a logger holds up the line that says that handlers run apart, loops are taken over all the same.
func TestTakeOverDoesNotWaitForALogger(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 1})
	stuck := &stuckLog{make(chan struct{}), make(chan struct{})}
	blocks := start(t, &coserver.Server{Engine: engine, Logger: slog.New(slog.NewTextHandler(stuck, nil)), Handler: func(c *coserver.Conn) error {
		for {
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			time.Sleep(2 * time.Millisecond) // the blocking itself
			if _, err := c.Write(line); err != nil {
				return err
			}
		}
	}}, "tcp")
	until := make(chan struct{})
	other := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		line, err := c.ReadSlice('\n')
		if err != nil {
			return err
		}
		if string(line) == "block\n" {
			<-until
		}
		_, err = c.Write(line)
		return err
	}}, "tcp")
	defer close(stuck.release)
	defer close(until)
	defer talk(t, blocks, 50)()
	receive(t, stuck.begun)
	_, err := io.WriteString(dial(t, other), "block\n")
	require.NoError(t, err)
	exchange(t, dial(t, other), "meanwhile\n")
}

// Connections that bring one request each and end with its answer tell as well that handlers do not block any more.
func TestServerOfShortConnectionsComesBack(t *testing.T) {
	const blockFor = 10 * time.Millisecond
	engine := newEngine(t, coserver.EngineConfig{Loops: 2, TakeOverAfter: 4 * blockFor})
	var blocking atomic.Bool
	blocking.Store(true)
	addr := start(t, &coserver.Server{Engine: engine, Handler: func(c *coserver.Conn) error {
		line, err := c.ReadSlice('\n')
		if err != nil {
			return err
		}
		if string(line) == "how\n" {
			line = []byte(coserver.Carried(c) + "\n")
		}
		if blocking.Load() {
			time.Sleep(blockFor) // the blocking itself
		}
		_, err = c.Write(line)
		return err
	}}, "tcp")
	var group sync.WaitGroup
	defer group.Wait()
	defer blocking.Store(false)
	for range 8 {
		group.Go(func() {
			for blocking.Load() {
				_, err := ask(addr)
				noError(t, err)
			}
		})
	}
	eventually(t, func() bool { return engine.Stats().Apart > 0 }, "the handlers run apart")
	blocking.Store(false)
	group.Wait()
	eventually(t, func() bool {
		for range 10 { // more than can be probes
			if how, err := ask(addr); err != nil || how != "inline" {
				return false
			}
		}
		return true
	}, "connections are inline again")
}

// A Close that comes while somebody sends what the handler has gathered, for that one was taken over, loses nothing.
func TestCloseWhileOutputIsSentForTheHandler(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 1, TakeOverAfter: 100 * time.Microsecond})
	const answer = "one\ntwo\n"
	addr := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		for range 2 {
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			if _, err := c.Write(line); err != nil {
				return err
			}
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond) // around the time of the take-over
		return c.Close()
	}}, "tcp")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 60 {
				c, err := net.Dial("tcp", addr.String())
				if !noError(t, err) {
					return
				}
				_, err = io.WriteString(c, "one\ntwo\nthree\n")
				noError(t, err)
				got, err := io.ReadAll(c)
				noError(t, err)
				if string(got) != answer {
					t.Errorf("got %q", got)
				}
				c.Close()
			}
		})
	}
	group.Wait()
	require.NotZero(t, engine.Stats().TakeOvers)
}
