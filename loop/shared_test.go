package loop_test

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
)

// faults.md N4, N5: sockets that share an address get each their part of the connections, all of which are served on the loop that
// has accepted them; when they are closed the address is free at once.
func TestListenShared(t *testing.T) {
	const loops, clients = 4, 400
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "tcp4": "localhost:0", "tcp6": "[::1]:0"} {
		t.Run(network, func(t *testing.T) {
			e := newEngine(t, loop.Config{Loops: loops})
			ln, err := e.ListenShared(network, address)
			require.NoError(t, err)
			var mu sync.Mutex
			counts := make(map[*loop.Loop]int)
			serve := func(l *loop.Loop, accepted loop.Accepted) {
				mu.Lock()
				counts[l]++
				mu.Unlock()
				closing := new(closingOwner)
				if err := l.Attach(&closing.Socket, accepted, closing); err != nil {
					t.Error(err)
					return
				}
				if _, err := closing.Send([]byte("served")); err != nil {
					t.Error(err)
				}
				closing.Close()
			}
			early := dial(t, ln.Addr()) // waits in the backlog of one of them
			require.NoError(t, ln.Serve(serve, nil))
			expectServed(t, early)
			for range clients {
				expectServed(t, dial(t, ln.Addr()))
			}
			mu.Lock()
			require.Len(t, counts, loops)
			for _, n := range counts {
				require.Greater(t, n, clients/loops/3)
			}
			mu.Unlock()
			_, err = e.Listen(network, ln.Addr().String())
			require.ErrorIs(t, err, syscall.EADDRINUSE)

			require.NoError(t, ln.Close())
			require.ErrorIs(t, ln.Close(), net.ErrClosed)
			_, err = net.Dial(network, ln.Addr().String())
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			again, err := e.Listen(network, ln.Addr().String())
			require.NoError(t, err)
			require.NoError(t, again.Close())
		})
	}
}

// closingOwner is a socket whose owner has nothing to do.
type closingOwner struct{ loop.Socket }

func (*closingOwner) ReadReady()  {}
func (*closingOwner) WriteReady() {}
func (*closingOwner) Hangup()     {}
func (c *closingOwner) Kill()     { c.Close() }

func expectServed(t *testing.T, c net.Conn) {
	t.Helper()
	answer := make([]byte, 10)
	n, err := c.Read(answer)
	require.NoError(t, err)
	require.Equal(t, "served", string(answer[:n]))
	require.NoError(t, c.Close())
}

// What cannot be shared, or cannot be bound, is an error and leaves nothing.
func TestListenSharedErrors(t *testing.T) {
	e := newEngine(t, loop.Config{Loops: 3})
	_, err := e.ListenShared("unix", "s")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	alone, err := e.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, err = e.ListenShared("tcp", alone.Addr().String())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	one, err := e.ListenShared("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	other, err := e.ListenShared("tcp", one.Addr().String())
	require.NoError(t, err)
	require.NoError(t, one.Close())
	require.NoError(t, other.Close())
	require.NoError(t, e.Close())
	_, err = e.ListenShared("tcp", "127.0.0.1:0")
	require.ErrorIs(t, err, loop.ErrEngineClosed)
}

// The sockets that share an address rest and go on together.
func TestPauseOfSharedListener(t *testing.T) {
	e := newEngine(t, loop.Config{Loops: 2})
	ln, err := e.ListenShared("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	accepted := make(chan struct{}, 100)
	require.NoError(t, ln.Serve(func(l *loop.Loop, a loop.Accepted) {
		c := new(closingOwner)
		if err := l.Attach(&c.Socket, a, c); err != nil {
			t.Error(err)
		}
		c.Close()
		accepted <- struct{}{}
	}, nil))
	ln.Pause()
	for range cap(accepted) {
		dial(t, ln.Addr())
	}
	require.Empty(t, accepted)
	ln.Resume()
	for range cap(accepted) {
		receive(t, accepted)
	}
	require.NoError(t, ln.Close())
}
