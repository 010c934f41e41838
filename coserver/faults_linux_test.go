package coserver_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/sys/systest"
)

// onFake serves one connection on the kernel of package systest, in a bubble with virtual time, and gives test its client.
// Afterwards nothing may be left in the kernel, and it must not have been asked for anything that is wrong.
func onFake(t *testing.T, options systest.Options, s *coserver.Server, test func(*systest.Peer)) {
	onFakeServer(t, options, s, func(f *fake) { test(f.connect()) })
}

// fake is a server on the kernel of package systest.
type fake struct {
	*testing.T
	kernel *systest.Kernel
	addr   net.Addr
}

// onFakeServer is onFake without a client.
func onFakeServer(t *testing.T, options systest.Options, s *coserver.Server, test func(*fake)) {
	synctest.Test(t, func(t *testing.T) {
		kernel := systest.New(options)
		engine, err := coserver.NewEngineWith(coserver.EngineConfig{},
			loop.Config{Loops: 1, Kernel: kernel, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		s.Engine = engine
		ln, err := s.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		var served sync.WaitGroup
		served.Go(func() { _ = s.Serve(ln) })
		synctest.Wait()
		test(&fake{t, kernel, ln.Addr()})
		require.NoError(t, s.Close())
		served.Wait()
		require.NoError(t, engine.Close())
		require.Empty(t, kernel.Open())
		require.Empty(t, kernel.Violations())
	})
}

func (f *fake) connect() *systest.Peer {
	f.Helper()
	peer, err := f.kernel.Client(f.addr)
	require.NoError(f, err)
	synctest.Wait()
	return peer
}

// A Write that times out while it is behind gathered output says how much of it the kernel took, and none of the rest goes
// out later by itself.
func TestWriteTimeoutBehindGatheredOutput(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		first, second := bytes.Repeat([]byte("a"), 1000), bytes.Repeat([]byte("b"), 1000)
		onFake(t, systest.Options{SendBuffer: 500, Window: 500}, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if _, err := c.ReadSlice('\n'); err != nil {
				return err
			}
			if _, err := c.Write(first); err != nil { // gathered, for there is another line
				return err
			}
			if _, err := c.ReadSlice('\n'); err != nil {
				return err
			}
			c.SetWriteDeadline(time.Now().Add(time.Second))
			n, err := c.Write(second)
			requireTimeout(t, err)
			c.SetWriteDeadline(time.Time{})
			_, err = c.Write(second[n:])
			return err
		}}, func(peer *systest.Peer) {
			_, err := peer.Write([]byte("one\ntwo\n"))
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
			var all []byte
			for buffer := make([]byte, 100); ; synctest.Wait() {
				n, err := peer.Read(buffer)
				all = append(all, buffer[:n]...)
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
			}
			require.Equal(t, string(first)+string(second), string(all))
		})
	})
}

// Close drops what comes. A read that it overtakes must not return what comes after that.
func TestReadOvertakenByClose(t *testing.T) {
	conns := make(chan *coserver.Conn, 1)
	result := make(chan error, 1)
	scheduler := systest.NewScheduler("recv")
	onFake(t, systest.Options{Scheduler: scheduler}, &coserver.Server{Carrier: coserver.Channel, Handler: func(c *coserver.Conn) error {
		conns <- c
		_, err := c.Read(make([]byte, 10))
		result <- err
		return nil
	}}, func(peer *systest.Peer) {
		grant := func(which int) {
			synctest.Wait()
			calls := scheduler.Ready()
			require.Greater(t, len(calls), which)
			scheduler.Grant(calls[which])
			synctest.Wait()
		}
		_, err := peer.Write([]byte("dropped"))
		require.NoError(t, err)
		synctest.Wait() // the read is in its system call
		require.NoError(t, (<-conns).Close())
		grant(1) // the close gets what was there
		_, err = peer.Write([]byte("later"))
		require.NoError(t, err)
		grant(0) // the read gets what comes after
		require.ErrorIs(t, <-result, net.ErrClosed)
		peer.Close()
		grant(0)
	})
}

// faults.md L7: a handler may set deadlines and close while it holds a lock that others wait for.
func TestCallsWithALockHeld(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var mu sync.Mutex
		onFake(t, systest.Options{}, &coserver.Server{Carrier: carrier, OnError: func(*coserver.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
		}, Handler: func(c *coserver.Conn) error {
			mu.Lock()
			defer mu.Unlock()
			c.SetDeadline(time.Now().Add(-time.Second))
			c.SetDeadline(time.Now().Add(time.Hour))
			c.Write([]byte("bye"))
			return c.Close()
		}}, func(peer *systest.Peer) {
			synctest.Wait()
			answer := make([]byte, 10)
			n, err := peer.Read(answer)
			require.NoError(t, err)
			require.Equal(t, "bye", string(answer[:n]))
			_, err = peer.Read(answer)
			require.Equal(t, io.EOF, err)
		})
	})
}

// faults.md L11: the peer has reset the connection, and the handler goes on writing. Each Write fails; no signal ends the
// program, and the engine serves on.
func TestWritesToAConnectionThatIsReset(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		errs := make(chan error, 100)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				return echoRead(c)
			}
			for range cap(errs) {
				_, err := c.Write([]byte("anybody there?"))
				errs <- err
			}
			return nil
		}}, "tcp")
		client := dial(t, addr)
		require.NoError(t, client.(*net.TCPConn).SetLinger(0))
		require.NoError(t, client.Close())
		for range cap(errs) {
			require.ErrorIs(t, receive(t, errs), syscall.EPIPE)
		}
		other := dial(t, addr)
		_, err := io.WriteString(other, "x") // is not echoed
		require.NoError(t, err)
		exchange(t, other, "served")
	})
}
