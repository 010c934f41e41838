package coserver_test

import (
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// oneLoop returns an engine on whose single loop everything meets.
func oneLoop(t *testing.T) *coserver.Engine {
	return newEngine(t, coserver.EngineConfig{Loops: 1, TakeOverAfter: time.Millisecond})
}

// A handler that blocks or computes holds up nobody: the others on its loop are served meanwhile, and it goes on afterwards,
// inline as before.
func TestBlockedHandlerIsTakenOver(t *testing.T) {
	for name, block := range map[string]func(until <-chan struct{}){
		"channel": func(until <-chan struct{}) { <-until },
		"sleep": func(until <-chan struct{}) {
			for {
				select {
				case <-until:
					return
				default:
					time.Sleep(time.Millisecond) // the blocking itself
				}
			}
		},
		"computing": func(until <-chan struct{}) {
			for sum := uint64(1); ; sum = sum*3 + 1 {
				select {
				case <-until:
					return
				default:
					if sum == 0 {
						return // it never is; so the sum is needed
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			engine := oneLoop(t)
			until := make(chan struct{})
			addr := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
				for {
					line, err := c.ReadSlice('\n')
					if err != nil {
						return err
					}
					if string(line) == "block\n" {
						block(until)
					}
					if _, err := c.Write(line); err != nil {
						return err
					}
				}
			}}, "tcp")
			blocked, other := dial(t, addr), dial(t, addr)
			exchange(t, blocked, "before\n")
			_, err := io.WriteString(blocked, "block\n")
			require.NoError(t, err)
			for range 100 {
				exchange(t, other, "meanwhile\n")
			}
			late := dial(t, addr)
			exchange(t, late, "a new one\n")
			require.NotZero(t, engine.Stats().TakeOvers)
			close(until)
			got := make([]byte, len("block\n"))
			_, err = io.ReadFull(blocked, got)
			require.NoError(t, err)
			require.Equal(t, "block\n", string(got))
			for range 100 {
				exchange(t, blocked, "after\n")
				exchange(t, other, "after\n")
			}
		})
	}
}

// What a handler has gathered before it blocks goes out without it, in plain text and encrypted.
func TestTakeOverSendsWhatIsGathered(t *testing.T) {
	for _, secure := range []bool{false, true} {
		until := make(chan struct{})
		s := &coserver.Server{Engine: oneLoop(t), Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
			for {
				line, err := c.ReadSlice('\n')
				if err != nil {
					return err
				}
				if string(line) == "block\n" {
					<-until
				}
				if _, err := c.Write(line); err != nil {
					return err
				}
			}
		}}
		if secure {
			s.TLSConfig = serverTLS()
		}
		addr := start(t, s, "tcp")
		var c io.ReadWriter = dial(t, addr)
		if secure {
			c = dialTLS(t, addr, clientTLS())
		}
		_, err := io.WriteString(c, "one\ntwo\nblock\nthree\n")
		require.NoError(t, err)
		got := make([]byte, len("one\ntwo\n"))
		_, err = io.ReadFull(c, got)
		require.NoError(t, err)
		require.Equal(t, "one\ntwo\n", string(got))
		close(until)
		got = make([]byte, len("block\nthree\n"))
		_, err = io.ReadFull(c, got)
		require.NoError(t, err)
		require.Equal(t, "block\nthree\n", string(got))
	}
}

// However a handler ends that has been taken over, it ends its connection alone.
func TestTakenOverHandlerFalls(t *testing.T) {
	for name, fall := range map[string]func() error{
		"returns": func() error { return errTest },
		"panics":  func() error { panic(errTest) },
		"exits":   func() error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			engine := oneLoop(t)
			reported := make(chan error, 1)
			s := &coserver.Server{Engine: engine, Carrier: coserver.Inline, OnError: func(_ *coserver.Conn, err error) { reported <- err },
				Handler: func(c *coserver.Conn) error {
					line, err := c.ReadSlice('\n')
					if err != nil {
						return err
					}
					if string(line) == "fall\n" {
						for before := engine.Stats().TakeOvers; engine.Stats().TakeOvers == before; {
							time.Sleep(time.Millisecond) // the blocking itself
						}
						return fall()
					}
					_, err = c.Write(line)
					return err
				}}
			addr := start(t, s, "tcp")
			c := dial(t, addr)
			_, err := io.WriteString(c, "fall\n")
			require.NoError(t, err)
			require.Error(t, receive(t, reported))
			expectEnd(t, c)
			exchange(t, dial(t, addr), "others live\n")
		})
	}
}

// While it is on its own, a handler may do all that it may otherwise: other connections, dials, writes that wait, a share used up.
func TestTakenOverHandlerGoesOn(t *testing.T) {
	engine := oneLoop(t)
	echo := start(t, &coserver.Server{Engine: engine, Handler: echoNext}, "tcp")
	content := randomBytes(8, 12<<20)
	addr := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		alone := func() { time.Sleep(5 * time.Millisecond) } // the blocking itself
		alone()
		up, err := coserver.Dial("tcp", echo.String())
		if err != nil {
			return err
		}
		defer up.Close()
		for range 3 {
			alone()
			if _, err := up.Write([]byte("ping")); err != nil {
				return err
			}
			if _, err := io.ReadFull(up, make([]byte, 4)); err != nil {
				return err
			}
		}
		alone()
		if _, err := c.Write(content); err != nil { // it waits, and gives way
			return err
		}
		alone()
		_, err = c.ReadFull(make([]byte, 4))
		return err
	}}, "tcp")
	var group sync.WaitGroup
	for range 4 {
		c := dial(t, addr)
		group.Go(func() {
			got := make([]byte, len(content))
			if _, err := io.ReadFull(c, got); !noError(t, err) {
				return
			}
			if string(got) != string(content) {
				t.Error("other bytes")
			}
			_, err := c.Write([]byte("done"))
			noError(t, err)
			_, err = c.Read(got)
			if err != io.EOF {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.NotZero(t, engine.Stats().TakeOvers)
}

// Handlers that block at random, on several loops, while connections come, go and are cut: nobody is forgotten.
func TestTakeOverStorm(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 2, TakeOverAfter: 200 * time.Microsecond})
	addr := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		for n := 0; ; n++ {
			line, err := c.ReadSlice('\n')
			if err != nil {
				return err
			}
			if n%5 == int(line[0])%5 {
				time.Sleep(time.Duration(line[0]) * 10 * time.Microsecond) // around the threshold
			}
			if _, err := c.Write(line); err != nil {
				return err
			}
		}
	}}, "tcp")
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for round := range 10 {
				c := dial(t, addr)
				for range 10 {
					exchange(t, c, string(rune('a'+i))+"storm\n"+string(rune('a'+round))+"second\n")
				}
				c.Close()
			}
		})
	}
	group.Wait()
	require.NotZero(t, engine.Stats().TakeOvers)
}

// An idle engine's monitor sleeps, and a shutdown does not wait for it.
func TestMonitorSleeps(t *testing.T) {
	engine := oneLoop(t)
	addr := start(t, &coserver.Server{Engine: engine, Handler: echoNext}, "tcp")
	exchange(t, dial(t, addr), "then idle")
	eventually(t, func() bool { return coserver.MonitorSleeps(engine) }, "the monitor sleeps")
	c := dial(t, addr)
	exchange(t, c, "and wakes")
}

// Who has been taken over may come back when the engine is closed. What is to be done then is done, and leaves nothing.
func TestGoingOnAfterClose(t *testing.T) {
	leak.Check(t)
	engine, err := coserver.NewEngine(coserver.EngineConfig{Loops: 1})
	require.NoError(t, err)
	require.NoError(t, engine.Close())
	done := make(chan struct{})
	coserver.GoOn(engine, func() { close(done) })
	receive(t, done)
}
