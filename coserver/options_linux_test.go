package coserver_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// option reads what the kernel has for one.
func option(t *testing.T, c syscall.Conn, level, name int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	var value int
	var optErr error
	require.NoError(t, raw.Control(func(fd uintptr) { value, optErr = syscall.GetsockoptInt(int(fd), level, name) }))
	require.NoError(t, optErr)
	return value
}

// faults.md F9: what libraries look for by a type switch is there, and arrives at the kernel.
func TestSocketOptions(t *testing.T) {
	c, _ := held(t, "tcp")
	require.NotZero(t, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_NODELAY))
	require.NoError(t, c.SetNoDelay(false))
	require.Zero(t, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_NODELAY))

	require.NotZero(t, option(t, c, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE))
	require.Equal(t, 15, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE))
	require.NoError(t, c.SetKeepAlivePeriod(1500*time.Millisecond))
	require.Equal(t, 2, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE))
	require.NoError(t, c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 40 * time.Second, Interval: -1, Count: 3}))
	require.Equal(t, 40, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE))
	require.Equal(t, 15, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL))
	require.Equal(t, 3, option(t, c, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT))
	require.NoError(t, c.SetKeepAlive(false))
	require.Zero(t, option(t, c, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE))

	require.NoError(t, c.SetReadBuffer(64<<10))
	require.Equal(t, 128<<10, option(t, c, syscall.SOL_SOCKET, syscall.SO_RCVBUF), "the kernel doubles it (socket(7))")
	require.NoError(t, c.SetWriteBuffer(32<<10))
	require.Equal(t, 64<<10, option(t, c, syscall.SOL_SOCKET, syscall.SO_SNDBUF))

	require.NoError(t, c.Close())
	for _, err := range []error{c.SetNoDelay(true), c.SetKeepAlive(true), c.SetKeepAlivePeriod(time.Second), c.SetLinger(1),
		c.SetKeepAliveConfig(net.KeepAliveConfig{}), c.SetReadBuffer(1), c.SetWriteBuffer(1)} {
		require.ErrorIs(t, err, net.ErrClosed)
		var opErr *net.OpError
		require.ErrorAs(t, err, &opErr)
		require.Equal(t, "set", opErr.Op)
	}
	_, err := c.SyscallConn()
	require.ErrorIs(t, err, net.ErrClosed)
}

// With SetLinger(0), Close resets the connection.
func TestLingerZeroResets(t *testing.T) {
	c, client := held(t, "tcp")
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
	_, err := client.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// A RawConn waits as the Conn does: its functions are called until they say that they are done.
func TestRawConn(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		served := make(chan error, 1)
		calls := make(chan int, 1)
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			raw, err := c.SyscallConn()
			if err != nil {
				return err
			}
			buffer, n, count := make([]byte, 100), 0, 0
			err = raw.Read(func(fd uintptr) bool {
				count++
				n, err = syscall.Read(int(fd), buffer)
				return err != syscall.EAGAIN
			})
			calls <- count
			if err == nil {
				// What the function has left is still there for the Conn.
				_, err = c.ReadFull(buffer[n : n+4])
			}
			if err == nil {
				err = raw.Write(func(fd uintptr) bool {
					_, err = syscall.Write(int(fd), buffer[:n+4])
					return err != syscall.EAGAIN
				})
			}
			served <- err
			return err
		}}, "tcp")
		client := dial(t, addr)
		_, err := client.Write([]byte("raw "))
		require.NoError(t, err)
		require.Positive(t, receive(t, calls))
		_, err = client.Write([]byte("conn"))
		require.NoError(t, err)
		answer := make([]byte, 8)
		_, err = client.Read(answer)
		require.NoError(t, err)
		require.Equal(t, "raw conn", string(answer))
		require.NoError(t, receive(t, served))
	})
}

func TestRawConnIsWoken(t *testing.T) {
	c, _ := held(t, "tcp")
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	waiting := make(chan error, 1)
	never := func(uintptr) bool { return false }
	go func() { waiting <- raw.Read(never) }()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	requireTimeout(t, receive(t, waiting))
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	go func() { waiting <- raw.Read(never) }()
	require.NoError(t, c.Close())
	require.ErrorIs(t, receive(t, waiting), net.ErrClosed)
	require.ErrorIs(t, raw.Control(func(uintptr) {}), net.ErrClosed)
}
