package sys_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// watched is a descriptor of sys.Net, and what it has told.
type watched struct {
	*testing.T
	fd   int
	told chan sys.Condition
}

func watch(t *testing.T, fd int) *watched {
	w := &watched{t, fd, make(chan sys.Condition, 10_000)}
	require.Zero(t, sys.Net.Watch(fd, w))
	return w
}

func (w *watched) Ready(c sys.Condition) { w.told <- c }

// await waits until it has told all of want.
func (w *watched) await(want sys.Condition) (said sys.Condition) {
	w.Helper()
	for expired := time.After(patience); said&want != want; {
		select {
		case c := <-w.told:
			said |= c
		case <-expired:
			require.FailNow(w, "not told", "want %04b, got %04b", want, said)
		}
	}
	return said
}

// close closes the descriptor when the test has not.
func (w *watched) close() { sys.Net.Close(w.fd) }

// receive takes what comes until size bytes have, or the end.
func (w *watched) receive(size int) (all []byte, err error) {
	w.Helper()
	buffer := make([]byte, 10_000)
	for len(all) < size {
		n, errno := sys.Net.Recv(w.fd, buffer)
		switch {
		case errno == syscall.EAGAIN:
			w.await(sys.Readable)
		case errno != 0:
			return all, errno
		case n == 0:
			return all, io.EOF
		}
		all = append(all, buffer[:n]...)
	}
	return all, nil
}

func listen(t *testing.T) (*watched, net.Addr) {
	fd, addr, err := sys.Net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln := watch(t, fd)
	t.Cleanup(ln.close)
	return ln, addr
}

// accept waits for a connection.
func (w *watched) accept() *watched {
	w.Helper()
	for {
		fd, peer, errno := sys.Net.Accept(w.fd)
		if errno == 0 {
			require.True(w, peer.IsValid())
			c := watch(w.T, fd)
			w.Cleanup(c.close)
			return c
		}
		require.Equal(w, syscall.EAGAIN, errno)
		w.await(sys.Readable)
	}
}

func dialNet(t *testing.T, addr net.Addr) *net.TCPConn {
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c.(*net.TCPConn)
}

// netPair is a connection: its end of sys.Net, and package net's.
func netPair(t *testing.T) (*watched, *net.TCPConn) {
	ln, addr := listen(t)
	peer := dialNet(t, addr)
	return ln.accept(), peer
}

func noise(size int) []byte {
	p := make([]byte, size)
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(p)
	return p
}

// A listener gives out each connection once. When it is closed, those that nobody has accepted are reset, and the address is free.
func TestNetListener(t *testing.T) {
	leak.Check(t)
	ln, addr := listen(t)
	_, _, errno := sys.Net.Accept(ln.fd)
	require.Equal(t, syscall.EAGAIN, errno)
	for i := range 20 {
		peer := dialNet(t, addr)
		_, err := fmt.Fprintf(peer, "%02d", i)
		require.NoError(t, err)
		got, err := ln.accept().receive(2)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%02d", i), string(got))
	}
	late := dialNet(t, addr)
	ln.await(sys.Readable)
	require.Zero(t, sys.Net.Close(ln.fd))
	_, err := late.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	again, err := net.Listen("tcp", addr.String())
	require.NoError(t, err)
	require.NoError(t, again.Close())
	_, _, errno = sys.Net.Accept(ln.fd)
	require.Equal(t, syscall.EBADF, errno)
}

func TestNetConnect(t *testing.T) {
	leak.Check(t)
	ln, addr := listen(t)
	for _, local := range []net.Addr{nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}} {
		fd, err := sys.Net.Connect(local, addr)
		require.NoError(t, err)
		c := watch(t, fd)
		t.Cleanup(c.close)
		c.await(sys.Writable)
		require.Zero(t, sys.Net.Connected(fd))
		from, errno := sys.Net.LocalAddr(fd)
		require.Zero(t, errno)
		require.True(t, from.Addr().IsLoopback())
		other := ln.accept()
		n, errno := sys.Net.Sendv(fd, [][]byte{[]byte("he"), nil, []byte("llo")})
		require.Zero(t, errno)
		require.Equal(t, 5, n)
		got, err := other.receive(5)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
	}
	require.Zero(t, sys.Net.Close(ln.fd))
	fd, err := sys.Net.Connect(nil, addr)
	require.NoError(t, err)
	c := watch(t, fd)
	t.Cleanup(c.close)
	c.await(sys.Writable | sys.Closed)
	require.Equal(t, syscall.ECONNREFUSED, sys.Net.Connected(fd))

	_, err = sys.Net.Connect(nil, &net.UDPAddr{})
	require.ErrorIs(t, err, os.ErrInvalid)
	_, err = sys.Net.Connect(nil, &net.TCPAddr{IP: net.IP{1, 2, 3}})
	require.ErrorContains(t, err, "invalid IP address")
	_, err = sys.Net.Connect(&net.TCPAddr{IP: net.IPv6loopback}, addr)
	require.ErrorContains(t, err, "mismatched local address type")
}

// An attempt to connect that is given up leaves nothing, whenever that is.
func TestNetConnectGivenUp(t *testing.T) {
	leak.Check(t)
	_, addr := listen(t)
	for range 50 {
		fd, err := sys.Net.Connect(nil, addr)
		require.NoError(t, err)
		require.Zero(t, sys.Net.Close(fd))
		require.Equal(t, syscall.EBADF, sys.Net.Connected(fd))
	}
}

// A peer that does not read makes Send say that there is no room, after a bounded amount; all arrives once it reads.
func TestNetSendIsBounded(t *testing.T) {
	leak.Check(t)
	c, peer := netPair(t)
	require.Zero(t, sys.Net.SetWriteBuffer(c.fd, 16<<10))
	all, sent := noise(32<<20), 0
	read := make(chan []byte, 1)
	full := false
	for sent < len(all) {
		n, errno := sys.Net.Send(c.fd, all[sent:])
		sent += n
		if errno == 0 {
			continue
		}
		require.Equal(t, syscall.EAGAIN, errno)
		if !full {
			full = true
			go func() {
				got, _ := io.ReadAll(peer)
				read <- got
			}()
		}
		c.await(sys.Writable)
	}
	require.True(t, full, "it has had to wait")
	require.Zero(t, sys.Net.Shutdown(c.fd, sys.ShutWrite))
	_, errno := sys.Net.Send(c.fd, []byte("more"))
	require.Equal(t, syscall.EPIPE, errno)
	select {
	case got := <-read:
		require.True(t, bytes.Equal(all, got))
	case <-time.After(patience):
		require.Fail(t, "it has not all arrived")
	}
}

// Input that nobody wants makes the peer wait, after a bounded amount; all of it is there when somebody does.
func TestNetReadAheadIsBounded(t *testing.T) {
	leak.Check(t)
	c, peer := netPair(t)
	require.Zero(t, sys.Net.SetReadBuffer(c.fd, 16<<10))
	require.NoError(t, peer.SetWriteBuffer(16<<10))
	all := noise(32 << 20)
	require.NoError(t, peer.SetWriteDeadline(time.Now().Add(time.Second)))
	n, err := peer.Write(all)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "it has to wait")
	require.NoError(t, peer.CloseWrite())
	got, err := c.receive(len(all))
	require.Equal(t, io.EOF, err)
	require.True(t, bytes.Equal(all[:n], got))
	info, errno := sys.Net.TCPInfo(c.fd)
	require.Zero(t, errno)
	require.EqualValues(t, n, info.Received)
}

// What was sent before Close is delivered. Input that nobody has read makes Close a reset.
func TestNetClose(t *testing.T) {
	leak.Check(t)
	c, peer := netPair(t)
	all, sent := noise(60_000), 0
	for sent < len(all) {
		n, errno := sys.Net.Send(c.fd, all[sent:])
		require.Zero(t, errno)
		sent += n
	}
	require.Zero(t, sys.Net.Close(c.fd))
	require.Equal(t, syscall.EBADF, sys.Net.Close(c.fd))
	got, err := io.ReadAll(peer)
	require.NoError(t, err)
	require.True(t, bytes.Equal(all, got))

	c, peer = netPair(t)
	_, err = peer.Write([]byte("unread"))
	require.NoError(t, err)
	c.await(sys.Readable)
	require.Zero(t, sys.Net.Close(c.fd))
	_, err = peer.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NotErrorIs(t, err, io.EOF)
}

// Sockets that share an address get connections in turn; the address is free when the last is closed.
func TestNetListenShared(t *testing.T) {
	leak.Check(t)
	fd, addr, err := sys.Net.ListenShared("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	first := watch(t, fd)
	fd, same, err := sys.Net.ListenShared("tcp", addr.String())
	require.NoError(t, err)
	require.Equal(t, addr, same)
	second := watch(t, fd)
	for range 5 {
		for range 2 {
			dialNet(t, addr)
		}
		first.accept()
		second.accept()
	}
	require.Zero(t, sys.Net.Close(first.fd))
	dialNet(t, addr)
	second.accept()
	require.Zero(t, sys.Net.Close(second.fd))
	_, err = net.Dial("tcp", addr.String())
	require.Error(t, err)
	alone, err := net.Listen("tcp", addr.String())
	require.NoError(t, err)
	defer alone.Close()
	_, _, err = sys.Net.ListenShared("tcp", addr.String())
	require.Error(t, err)
}

// foreign is a listener that has no descriptor to be duplicated, as on Windows.
type foreign struct{ *net.TCPListener }

func (foreign) File() (*os.File, error) { return nil, errors.ErrUnsupported }

// A listener from elsewhere is used itself where it cannot be duplicated, and stays open.
func TestNetAdopt(t *testing.T) {
	for _, duplicates := range []bool{true, false} {
		t.Run(fmt.Sprintf("duplicates %v", duplicates), func(t *testing.T) {
			leak.Check(t)
			tcp, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer tcp.Close()
			var original syscall.Conn = tcp.(*net.TCPListener)
			if !duplicates {
				original = foreign{tcp.(*net.TCPListener)}
			}
			fd, err := sys.Net.Adopt(original)
			require.NoError(t, err)
			ln := watch(t, fd)
			dialNet(t, tcp.Addr())
			ln.accept()
			require.Zero(t, sys.Net.Close(fd))
			require.Eventually(t, func() bool { // who took connections ahead may take one more, which is reset
				peer, err := net.DialTimeout("tcp", tcp.Addr().String(), patience)
				if err != nil {
					return false
				}
				defer peer.Close()
				tcp.(*net.TCPListener).SetDeadline(time.Now().Add(200 * time.Millisecond))
				c, err := tcp.Accept()
				if err != nil {
					return false
				}
				c.Close()
				return c.RemoteAddr().String() == peer.LocalAddr().String()
			}, patience, time.Millisecond)
		})
	}
	_, err := sys.Net.Adopt(nil)
	require.ErrorIs(t, err, os.ErrInvalid)
}

// What is no descriptor, or none that can do it, is told from what cannot be done at all.
func TestNetRefuses(t *testing.T) {
	leak.Check(t)
	ln, _ := listen(t)
	c, _ := netPair(t)
	for _, fd := range []int{-1, 0, 1 << 20, 1 << 30} {
		_, errno := sys.Net.Recv(fd, make([]byte, 1))
		require.Equal(t, syscall.EBADF, errno)
		_, errno = sys.Net.Send(fd, make([]byte, 1))
		require.Equal(t, syscall.EBADF, errno)
		require.Equal(t, syscall.EBADF, sys.Net.Watch(fd, nil))
		require.Equal(t, syscall.EBADF, sys.Net.Close(fd))
		require.Equal(t, syscall.EBADF, sys.Net.Control(fd, func(uintptr) { t.Error("called") }))
	}
	_, errno := sys.Net.Send(ln.fd, []byte("x"))
	require.Equal(t, syscall.ENOTCONN, errno)
	_, _, errno = sys.Net.Accept(c.fd)
	require.Equal(t, syscall.EBADF, errno)
	require.Equal(t, syscall.EINVAL, sys.Net.Shutdown(c.fd, 7))
	_, errno = sys.Net.Sendfile(c.fd, 0, nil, 1)
	require.ErrorIs(t, errno, errors.ErrUnsupported)
	_, _, errno = sys.Net.Pipe()
	require.ErrorIs(t, errno, errors.ErrUnsupported)
	require.False(t, sys.Net.Direct())
}

// The descriptor that Control passes on is the real one.
func TestNetControl(t *testing.T) {
	leak.Check(t)
	c, peer := netPair(t)
	called := false
	require.Zero(t, sys.Net.Control(c.fd, func(fd uintptr) {
		called = true
		require.NotEqual(t, uintptr(c.fd), fd)
	}))
	require.True(t, called)
	require.Zero(t, sys.Net.SetNoDelay(c.fd, false))
	require.Zero(t, sys.Net.SetKeepAlive(c.fd, net.KeepAliveConfig{Enable: true}))
	require.Zero(t, sys.Net.SetKeepAlive(c.fd, net.KeepAliveConfig{}))
	ended, failed, errno := sys.Net.Ended(c.fd)
	require.False(t, ended || failed || errno != 0)
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	c.await(sys.Readable | sys.Writable | sys.ReadClosed | sys.Closed)
	ended, failed, errno = sys.Net.Ended(c.fd)
	require.True(t, ended && failed && errno == 0)
	_, errno = sys.Net.Recv(c.fd, make([]byte, 1))
	require.Equal(t, syscall.ECONNRESET, errno)
	_, errno = sys.Net.Send(c.fd, make([]byte, 1))
	require.Equal(t, syscall.EPIPE, errno)
	require.Equal(t, syscall.ENOTCONN, sys.Net.Shutdown(c.fd, sys.ShutBoth))
}
