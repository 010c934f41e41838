package loop_test

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
)

// A closed listener is settled when the last connection that it had accepted has been given to its loop, and not before.
func TestListenerSettles(t *testing.T) {
	e := newEngine(t, loop.Config{Loops: 2})
	var open atomic.Int64
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{open: func(*loop.Conn) { open.Add(1) }, data: echo}}) // of loop 0
	busy, blocked := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(blocked) })
	t.Cleanup(release)
	e.Loop(1).Post(runner(func() {
		close(busy)
		<-blocked
	}))
	receive(t, busy)
	exchange(t, dial(t, ln.Addr()), "loop 0")
	late := dial(t, ln.Addr())                                // to loop 1, which has fewer
	exchange(t, dial(t, ln.Addr()), "loop 0, and after that") // has been accepted
	require.NoError(t, ln.Close())
	select {
	case <-ln.Settled():
		require.Fail(t, "a connection is on its way")
	default:
	}
	release()
	receive(t, ln.Settled())
	require.Equal(t, int64(3), open.Load())
	exchange(t, late, "loop 1")

	never := startService(t, e, "tcp", loop.Service{Handler: callbacks{}})
	require.NoError(t, never.Close())
	receive(t, never.Settled())
}

// The sockets of ListenShared settle together.
func TestSharedListenerSettles(t *testing.T) {
	e := newEngine(t, loop.Config{Loops: 3})
	ln, err := e.ListenShared("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Start(loop.Service{Handler: callbacks{data: echo}}))
	for range 20 {
		exchange(t, dial(t, ln.Addr()), "hello")
	}
	select {
	case <-ln.Settled():
		require.Fail(t, "it accepts")
	default:
	}
	require.NoError(t, ln.Close())
	receive(t, ln.Settled())
}

// Whoever is turned away is not waited for.
func TestListenerSettlesWithoutTheRefused(t *testing.T) {
	e := newEngine(t, loop.Config{})
	ln, err := e.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Serve(func(*loop.Loop, loop.Accepted) { t.Error("somebody was let in") }, nobody{}))
	for range 20 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil { // it has been reset that soon
			continue
		}
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err)
		require.NoError(t, c.Close())
	}
	require.NoError(t, ln.Close())
	receive(t, ln.Settled())
}

// nobody is an Admission that lets in nobody.
type nobody struct{}

func (nobody) Reserve() int64            { return 0 }
func (nobody) Cancel()                   {}
func (nobody) Admit(netip.AddrPort) bool { return false }
func (nobody) Dismiss(netip.AddrPort)    {}
func (nobody) Starved()                  {}
