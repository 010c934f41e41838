package loop_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

func TestConfigIsValidated(t *testing.T) {
	_, err := loop.NewEngine(loop.Config{Loops: -1})
	require.ErrorContains(t, err, "Config.Loops")
	e := newEngine(t, loop.Config{Loops: 3})
	require.Equal(t, 3, e.Loops())
	for field, service := range map[string]loop.Service{
		"Service.Handler":   {},
		"Service.MaxQueued": {Handler: callbacks{}, MaxQueued: -1},
		"Service.HighWater": {Handler: callbacks{}, MaxQueued: 10, HighWater: 11},
		"Service.LowWater":  {Handler: callbacks{}, HighWater: 10, LowWater: 11},
	} {
		_, err := e.Start("tcp", "127.0.0.1:0", service)
		require.ErrorContains(t, err, field)
	}
	_, err = e.Listen("udp", "127.0.0.1:0")
	require.ErrorContains(t, err, "unknown network udp")
}

func TestListenErrors(t *testing.T) {
	e := newEngine(t, loop.Config{})
	taken := startService(t, e, "tcp", loop.Service{Handler: callbacks{}})
	_, err := e.Listen("tcp", taken.Addr().String())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	var opError *net.OpError
	require.ErrorAs(t, err, &opError)
	_, err = e.Listen("tcp", "nonsense")
	require.ErrorContains(t, err, "nonsense")
	require.NoError(t, e.Close())
	_, err = e.Listen("tcp", "127.0.0.1:0")
	require.ErrorIs(t, err, loop.ErrEngineClosed)
	require.ErrorIs(t, e.Close(), loop.ErrEngineClosed)
	require.False(t, e.Loop(0).Post(runner(func() { t.Error("ran after Close") })))
}

// A new engine that cannot have all its pollers leaves none behind.
func TestNewEngineFailsClean(t *testing.T) {
	made := 0
	failed := errors.New("no more")
	_, err := loop.NewEngine(loop.Config{Loops: 3, NewPoller: func(k sys.Kernel) (poller.Poller, error) {
		if made++; made == 3 {
			return nil, failed
		}
		return poller.New(k)
	}})
	require.ErrorIs(t, err, failed)
}

// After Close the port is free, and what was accepted goes on.
func TestListenerClose(t *testing.T) {
	e := newEngine(t, loop.Config{})
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{data: echo}})
	c := dial(t, ln.Addr())
	exchange(t, c, "before")
	require.NoError(t, ln.Close())
	require.ErrorIs(t, ln.Close(), net.ErrClosed)
	_, err := net.Dial("tcp", ln.Addr().String())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	again, err := e.Start("tcp", ln.Addr().String(), loop.Service{Handler: callbacks{data: echo}})
	require.NoError(t, err)
	exchange(t, dial(t, again.Addr()), "again")
	exchange(t, c, "after")
}

func TestUnixSocketFileIsRemoved(t *testing.T) {
	e := newEngine(t, loop.Config{})
	ln := startService(t, e, "unix", loop.Service{Handler: callbacks{data: echo}})
	exchange(t, dial(t, ln.Addr()), "there")
	require.NoError(t, ln.Close())
	_, err := os.Stat(ln.Addr().String())
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Closing the engine ends connections, each with its OnClose, and waits for the callbacks.
func TestEngineCloseEndsConnections(t *testing.T) {
	e := newEngine(t, loop.Config{})
	const count = 50
	var open, closed atomic.Int64
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{
		open: func(*loop.Conn) { open.Add(1) },
		data: echo,
		close: func(_ *loop.Conn, err error) {
			closed.Add(1)
			if !errors.Is(err, loop.ErrEngineClosed) {
				t.Error(err)
			}
		},
	}})
	for range count {
		exchange(t, dial(t, ln.Addr()), "here")
	}
	require.NoError(t, e.Close())
	require.EqualValues(t, count, open.Load())
	require.EqualValues(t, count, closed.Load())
}

// faults.md X6: whoever sees which loop a connection is on, and keeps those of one alone, burdens that one; the others take what comes
// then, until all have the same.
func TestPlacementEvensOut(t *testing.T) {
	const loops, each = 3, 20
	e := newEngine(t, loop.Config{Loops: loops})
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{
		open: func(c *loop.Conn) { c.Write([]byte{byte(c.Loop().Index())}) },
		data: echo,
	}})
	connect := func() (c net.Conn, on int) {
		c = dial(t, ln.Addr())
		index := make([]byte, 1)
		_, err := io.ReadFull(c, index)
		require.NoError(t, err)
		return c, int(index[0])
	}
	var others []net.Conn
	for range loops * each {
		if c, on := connect(); on > 0 {
			others = append(others, c)
		}
	}
	require.Len(t, others, (loops-1)*each)
	for _, c := range others {
		require.NoError(t, c.Close())
	}
	require.Eventually(t, func() bool { return loop.Sockets(e.Loop(1)) == 0 && loop.Sockets(e.Loop(2)) == 0 }, patience, time.Millisecond)
	var counts [loops]int
	for range others {
		_, on := connect()
		counts[on]++
	}
	require.Equal(t, [loops]int{0, each, each}, counts)
}

// faultyKernel answers Accept with what fail returns, if it is not 0.
type faultyKernel struct {
	sys.Kernel
	fail func() syscall.Errno
}

func (k *faultyKernel) Accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	if errno := k.fail(); errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return k.Kernel.Accept(fd)
}

// Accepting survives every error that accept(2) can pass on, and heals each time that descriptors run out. Connections that
// are there go on meanwhile.
func TestAcceptErrors(t *testing.T) {
	var next atomic.Int64
	var calls atomic.Int64
	kernel := &faultyKernel{Kernel: sys.Host, fail: func() syscall.Errno {
		calls.Add(1)
		return syscall.Errno(next.Swap(0))
	}}
	e := newEngine(t, loop.Config{Loops: 1, Kernel: kernel})
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{data: echo}})
	old := dial(t, ln.Addr())
	exchange(t, old, "old")
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.EMFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ECONNABORTED, syscall.EINTR,
		syscall.EPROTO, syscall.EPERM, sys.ENONET, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.EINVAL,
	} {
		next.Store(int64(errno))
		calls.Store(0)
		c := dial(t, ln.Addr())
		exchange(t, old, "goes on")
		exchange(t, c, "served in the end")
		require.LessOrEqual(t, calls.Load(), int64(4), "%v: no spinning", errno)
	}
}

// A closed connection's number is used again at once; nothing of the old one reaches the new.
func TestDescriptorReuse(t *testing.T) {
	e := newEngine(t, loop.Config{})
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{data: func(c *loop.Conn, data []byte) {
		go func() {
			c.Write(append([]byte(c.RemoteAddr().String()), '\n'))
			c.CloseNow()
			c.Write([]byte("never"))
		}()
	}}})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				c.Write([]byte("who am I"))
				answer := make([]byte, 100)
				n, _ := c.Read(answer)
				if want := c.LocalAddr().String() + "\n"; n > 0 && string(answer[:n]) != want {
					t.Errorf("got %q, want %q", answer[:n], want)
				}
				c.Close()
			}
		})
	}
	all.Wait()
}
