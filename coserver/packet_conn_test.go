package coserver_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// packetSubjects are PacketConn, and what it is to be like.
var packetSubjects = map[string]func(network, address string) (net.PacketConn, error){
	"net":      net.ListenPacket,
	"coserver": func(network, address string) (net.PacketConn, error) { return coserver.ListenPacket(network, address) },
}

// onEachPacketConn runs test with one of package net, and with one of coserver in each kind of handler and on a goroutine.
func onEachPacketConn(t *testing.T, test func(t *testing.T, c net.PacketConn)) {
	for name, listen := range packetSubjects {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				c, err := listen("udp", "127.0.0.1:0")
				require.NoError(t, err)
				defer c.Close()
				test(t, c)
			})
		})
	}
}

// swoole_socket_coro/sendto: a datagram goes to an address and comes from one.
func TestPacketConn(t *testing.T) {
	onEachPacketConn(t, func(t *testing.T, c net.PacketConn) {
		other, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		defer other.Close()
		require.NoError(t, other.SetDeadline(time.Now().Add(patience)))
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		buffer := make([]byte, 100)
		for _, message := range []string{"one", "", "another"} {
			n, err := c.WriteTo([]byte(message), other.LocalAddr())
			require.NoError(t, err)
			require.Equal(t, len(message), n)
			n, from, err := other.ReadFrom(buffer)
			require.NoError(t, err)
			require.Equal(t, message, string(buffer[:n]))
			require.Equal(t, c.LocalAddr().String(), from.String())
			_, err = other.WriteTo(buffer[:n], from)
			require.NoError(t, err)
			n, from, err = c.ReadFrom(buffer)
			require.NoError(t, err)
			require.Equal(t, message, string(buffer[:n]))
			require.Equal(t, other.LocalAddr().String(), from.String())
		}
		_, err = other.WriteTo([]byte("too long for it"), c.LocalAddr())
		require.NoError(t, err)
		n, _, err := c.ReadFrom(buffer[:3])
		require.NoError(t, err, "as package net has it")
		require.Equal(t, "too", string(buffer[:n]))
	})
}

// swoole_socket_coro/recv_timeout, closed and cancel, for recvfrom and sendto; with the errors of package net.
func TestPacketConnErrors(t *testing.T) {
	onEachPacketConn(t, func(t *testing.T, c net.PacketConn) {
		buffer := make([]byte, 100)
		isOpError := func(err error, op string, cause error) {
			t.Helper()
			var opErr *net.OpError
			require.ErrorAs(t, err, &opErr)
			require.Equal(t, op, opErr.Op)
			require.Equal(t, "udp", opErr.Net)
			require.ErrorIs(t, err, cause)
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(-time.Second)))
		_, _, err := c.ReadFrom(buffer)
		isOpError(err, "read", os.ErrDeadlineExceeded)
		begin := time.Now()
		require.NoError(t, c.SetReadDeadline(begin.Add(30*time.Millisecond)))
		_, _, err = c.ReadFrom(buffer)
		isOpError(err, "read", os.ErrDeadlineExceeded)
		require.GreaterOrEqual(t, time.Since(begin), 30*time.Millisecond)
		require.NoError(t, c.SetDeadline(time.Time{}))

		_, err = c.WriteTo(make([]byte, 1<<16), c.LocalAddr())
		isOpError(err, "write", syscall.EMSGSIZE)
		var call *os.SyscallError
		require.ErrorAs(t, err, &call)
		require.Equal(t, "sendto", call.Syscall)
		_, err = c.WriteTo(buffer, &net.TCPAddr{})
		isOpError(err, "write", syscall.EINVAL)
		_, err = c.WriteTo(buffer, &net.UDPAddr{IP: net.ParseIP("::1"), Port: 9})
		var address *net.AddrError
		require.ErrorAs(t, err, &address)
		require.Contains(t, address.Err, "non-IPv4")

		// A deadline, and then a close, end a call that waits already.
		for _, end := range []struct {
			do   func() error
			want error
		}{
			{func() error { return c.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
			{c.Close, net.ErrClosed},
		} {
			require.NoError(t, c.SetReadDeadline(time.Time{}))
			result := make(chan error, 1)
			timer := time.AfterFunc(20*time.Millisecond, func() { result <- end.do() })
			defer timer.Stop()
			_, _, err = c.ReadFrom(buffer)
			isOpError(err, "read", end.want)
			require.NoError(t, receive(t, result))
		}
		_, _, err = c.ReadFrom(buffer)
		isOpError(err, "read", net.ErrClosed)
		_, err = c.WriteTo(buffer, c.LocalAddr())
		isOpError(err, "write", net.ErrClosed)
		isOpError(c.Close(), "close", net.ErrClosed)
		isOpError(c.SetDeadline(time.Now()), "set", net.ErrClosed)
	})
}

// Any number of goroutines may read and write; each datagram is read once.
func TestPacketConnConcurrently(t *testing.T) {
	const tasks, each = 8, 100
	onEachPacketConn(t, func(t *testing.T, c net.PacketConn) {
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		var all sync.WaitGroup
		var mu sync.Mutex
		got := make(map[string]int)
		for task := range tasks {
			all.Go(func() {
				buffer := make([]byte, 100)
				for i := range each {
					if _, err := c.WriteTo(fmt.Appendf(nil, "%d of %d", i, task), c.LocalAddr()); err != nil {
						t.Error(err)
						return
					}
					n, _, err := c.ReadFrom(buffer)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					got[string(buffer[:n])]++
					mu.Unlock()
				}
			})
		}
		waitGroup(t, &all)
		require.Len(t, got, tasks*each)
	})
}

// waitGroup waits for a group, in a handler as well as on a goroutine.
func waitGroup(t *testing.T, all *sync.WaitGroup) {
	t.Helper()
	ctx, done := context.WithCancel(context.Background())
	go func() {
		all.Wait()
		done()
	}()
	require.ErrorIs(t, coserver.Sleep(ctx, patience), context.Canceled)
}

func TestListenPacketErrors(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "udp": "127.0.0.1:nothing", "unix": "x"} {
		_, err := coserver.ListenPacket(network, address)
		_, want := net.ListenPacket(network, address)
		if network == "unix" || network == "tcp" {
			require.ErrorContains(t, err, network)
			continue
		}
		require.Equal(t, want.Error(), err.Error())
	}
	c, err := coserver.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer c.Close()
	_, err = coserver.ListenPacket("udp", c.LocalAddr().String())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, err = c.WriteToUDPAddrPort(nil, netip.AddrPort{})
	var address *net.AddrError
	require.ErrorAs(t, err, &address)
}

// Addresses of IPv4 are themselves on a socket of both kinds.
func TestPacketConnOfBothKinds(t *testing.T) {
	c, err := coserver.ListenPacket("udp", ":0")
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	require.NoError(t, c.SetReadBuffer(1<<16))
	require.NoError(t, c.SetWriteBuffer(1<<16))
	port := c.LocalAddr().(*net.UDPAddr).Port
	for _, host := range []string{"127.0.0.1", "::1"} {
		other := dial(t, &net.UDPAddr{IP: net.ParseIP(host), Port: port})
		_, err := io.WriteString(other, "there")
		require.NoError(t, err)
		buffer := make([]byte, 10)
		n, from, err := c.ReadFromUDPAddrPort(buffer)
		require.NoError(t, err)
		require.Equal(t, other.LocalAddr().String(), from.String())
		_, err = c.WriteToUDPAddrPort(buffer[:n], from)
		require.NoError(t, err)
		expectPacket(t, other, "there")
	}
}
