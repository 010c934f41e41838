package coserver_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/pollertest/steady"
	"github.com/strand-net/strand/poller/sys/systest"
)

// watchfulKernel counts how often a loop looks.
type watchfulKernel struct {
	*systest.Kernel
	looks atomic.Int64
}

func (k *watchfulKernel) EpollWait(epfd int, events []unix.EpollEvent) (int, unix.Errno) {
	k.looks.Add(1)
	return k.Kernel.EpollWait(epfd, events)
}

// faults.md M2: idle connections wake nobody, with limits or without; a limit once, when it is over.
func TestIdleConnectionsWakeNobody(t *testing.T) {
	const count = 200
	for name, s := range map[string]*coserver.Server{
		"without": {Handler: echoLine},
		"with":    {Handler: echoLine, IdleTimeout: 2 * time.Hour, ReadTimeout: time.Minute, MaxConns: count, MaxConnsPerIP: count},
	} {
		onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
			s.Carrier = carrier
			synctest.Test(t, func(t *testing.T) {
				kernel := &watchfulKernel{Kernel: systest.New(systest.Options{})}
				engine, err := coserver.NewEngineWith(coserver.EngineConfig{},
					loop.Config{Loops: 1, Kernel: kernel, Logger: slog.New(slog.DiscardHandler)})
				require.NoError(t, err)
				s.Engine = engine
				ln, err := s.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				served := make(chan error, 1)
				go func() { served <- s.Serve(ln) }()
				synctest.Wait()
				for range count {
					peer, err := kernel.Client(ln.Addr())
					require.NoError(t, err)
					_, err = peer.Write([]byte("a line\n"))
					require.NoError(t, err)
					synctest.Wait()
				}
				time.Sleep(2 * time.Minute) // what has been set up for the lines is over
				require.Equal(t, count, s.Stats().Active)
				before := kernel.looks.Load()
				time.Sleep(time.Hour)
				require.Equal(t, before, kernel.looks.Load(), name)
				require.True(t, coserver.MonitorSleeps(engine))
				require.NoError(t, s.Close())
				require.ErrorIs(t, <-served, coserver.ErrServerClosed)
				require.NoError(t, engine.Close())
			})
		})
	}
}

// spent has so many goroutines run at the same time and end: the runtime keeps what they were for the next, and the test's own are
// not to be put down to the server.
func spent(goroutines int) {
	var all sync.WaitGroup
	end := make(chan struct{})
	for range goroutines {
		all.Go(func() { <-end })
	}
	close(end)
	all.Wait()
}

// inUse returns the bytes that are in use, stacks included, when nobody needs what is kept for later.
func inUse() int {
	var stats runtime.MemStats
	for range collectionsToShrink {
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc + stats.StackInuse)
}

// An idle connection costs less than it does with Swoole (22 KiB, docs/swoole.md), with its handler, and though the client's end of it
// is counted, too.
func TestIdleConnectionsAreSmall(t *testing.T) {
	const count, most = 2000, 16 << 10
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier, Handler: echoNext}
		addr := start(t, s, "tcp")
		exchange(t, dial(t, addr), "what is made once is there")
		before := inUse()
		for range count {
			exchange(t, dial(t, addr), "then it is idle")
		}
		each := (int64(inUse()) - int64(before)) / count
		require.Less(t, each, int64(most), "%d bytes for each connection", each)
		require.Equal(t, count+1, s.Stats().Active)
	})
}

// faults.md M3: a peer sends for as long as it can, and the handler does something else. What has come stays in the kernel, which makes
// the peer wait, and none of it is lost.
func TestFastSenderAndSleepingHandler(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		goOn := make(chan struct{})
		got := make(chan int64, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if _, err := c.ReadSlice('\n'); err != nil {
				return err
			}
			err := coserver.Offload(func() { <-goOn })
			if err != nil {
				return err
			}
			n, err := io.Copy(io.Discard, c)
			got <- n
			return err
		}}, "tcp")
		c := dial(t, addr)
		_, err := io.WriteString(c, "begin\n")
		require.NoError(t, err)
		before := inUse()
		sent, block := int64(0), make([]byte, 64<<10)
		for {
			require.NoError(t, c.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
			n, err := c.Write(block)
			sent += int64(n)
			if err != nil {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				break
			}
			require.Less(t, sent, int64(256<<20), "it is never made to wait")
		}
		require.Less(t, inUse(), before+1<<20)
		close(goOn)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		require.Equal(t, sent, receive(t, got))
	})
}

// faults.md M6: what a burst needs is free again when it is over.
func TestMemoryAfterABurst(t *testing.T) {
	conns, size := 50, 200_000
	if steady.Long() {
		conns, size = 5000, 1_000_000
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, handler := range map[string]func(*coserver.Conn) error{"Next": echoNext, "Read": echoRead, "ReadSlice": echoLine} {
			addr := start(t, &coserver.Server{Carrier: carrier, Handler: handler}, "tcp")
			clients := make([]net.Conn, conns)
			for i := range clients {
				clients[i] = dial(t, addr)
				exchange(t, clients[i], "a line\n")
			}
			spent(2 * conns)
			before := inUse()
			burst, block := make(chan error, conns), make([]byte, size)
			for i := range block {
				if block[i] = 'x'; i%1000 == 999 {
					block[i] = '\n'
				}
			}
			for _, c := range clients {
				go func() {
					_, err := c.Write(block)
					burst <- err
				}()
				go func() {
					n, err := io.CopyN(io.Discard, c, int64(size))
					if err == nil && n != int64(size) {
						err = fmt.Errorf("%d bytes came back", n)
					}
					burst <- err
				}()
			}
			for range 2 * conns {
				require.NoError(t, receive(t, burst))
			}
			block = nil
			after := inUse()
			t.Logf("%s: %d KiB before, %d after", name, before>>10, after>>10)
			require.LessOrEqual(t, after, before+before/2)
			for _, c := range clients {
				require.NoError(t, c.Close())
			}
		}
	})
}

// clockKernel counts how often the time is asked.
type clockKernel struct {
	*systest.Kernel
	asked atomic.Int64
}

func (k *clockKernel) Nanotime() int64 {
	k.asked.Add(1)
	return k.Kernel.Nanotime()
}

// A server that answers now and then, and at once, is not looked at in every period: that would cost more than its answers.
func TestMonitorRestsBetweenAnswers(t *testing.T) {
	const answers, period = 500, time.Millisecond
	asked := make(map[time.Duration]int64)
	for _, takeOverAfter := range []time.Duration{period, -1} {
		synctest.Test(t, func(t *testing.T) {
			kernel := &clockKernel{Kernel: systest.New(systest.Options{})}
			engine, err := coserver.NewEngineWith(coserver.EngineConfig{TakeOverAfter: takeOverAfter},
				loop.Config{Loops: 1, Kernel: kernel, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			s := &coserver.Server{Engine: engine, Handler: echoLine}
			ln, err := s.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- s.Serve(ln) }()
			synctest.Wait()
			peer, err := kernel.Client(ln.Addr())
			require.NoError(t, err)
			before := kernel.asked.Load()
			for range answers {
				_, err = peer.Write([]byte("a line\n"))
				require.NoError(t, err)
				time.Sleep(2 * period) // the clock of the bubble, so exactly that
				var line [7]byte
				n, err := peer.Read(line[:])
				require.NoError(t, err)
				require.Equal(t, "a line\n", string(line[:n]))
			}
			asked[takeOverAfter] = kernel.asked.Load() - before
			require.NoError(t, s.Close())
			require.ErrorIs(t, <-served, coserver.ErrServerClosed)
			require.NoError(t, engine.Close())
		})
	}
	// A look asks once, and has an answer timed, which asks twice: in every period it would be four times for each answer.
	more := asked[period] - asked[-1]
	require.Greater(t, more, int64(0))
	require.Less(t, more, int64(2*answers))
}
