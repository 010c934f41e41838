package coserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestDial(t *testing.T) {
	for _, network := range []string{"tcp", "tcp6", "unix"} {
		t.Run(network, func(t *testing.T) {
			addr := start(t, &coserver.Server{Handler: echoNext}, network)
			within(t, func(t *testing.T) {
				c, err := coserver.Dial(network, addr.String())
				require.NoError(t, err)
				require.Equal(t, addr.String(), c.RemoteAddr().String())
				require.Equal(t, network[:3], c.LocalAddr().Network()[:3])
				exchange(t, c, "dialled")
				require.NoError(t, c.Close())
				require.ErrorIs(t, c.Close(), net.ErrClosed)
			})
		})
	}
}

// The addresses of both ends are those that the other end sees.
func TestDialledAddresses(t *testing.T) {
	leak.Check(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}
	c, err := (&coserver.Dialer{LocalAddr: local}).Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	peer, err := ln.Accept()
	require.NoError(t, err)
	defer peer.Close()
	require.Equal(t, peer.RemoteAddr(), c.LocalAddr())
	require.Equal(t, peer.LocalAddr(), c.RemoteAddr())
	require.True(t, c.LocalAddr().(*net.TCPAddr).IP.Equal(local.IP))
}

func TestDialErrors(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	for name, c := range map[string]struct {
		network, address string
		dialer           coserver.Dialer
		is               error
		text             string
	}{
		"refused":         {network: "tcp", address: free.Addr().String(), is: syscall.ECONNREFUSED, text: "dial tcp " + free.Addr().String() + ": connect: connection refused"},
		"no such path":    {network: "unix", address: "/nowhere/at/all", is: syscall.ENOENT, text: "dial unix /nowhere/at/all: connect: no such file or directory"},
		"network":         {network: "udp", address: "127.0.0.1:1", text: "dial udp: unknown network udp"},
		"address":         {network: "tcp", address: "127.0.0.1", text: "dial tcp: address 127.0.0.1: missing port in address"},
		"port":            {network: "tcp", address: "127.0.0.1:nonsense", text: "unknown port"},
		"wrong family":    {network: "tcp6", address: "127.0.0.1:1", text: "no suitable address"},
		"local address":   {network: "tcp", address: free.Addr().String(), dialer: coserver.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}, is: syscall.EADDRNOTAVAIL, text: "bind"},
		"deadline passed": {network: "tcp", address: free.Addr().String(), dialer: coserver.Dialer{Deadline: time.Unix(1, 0)}, is: context.DeadlineExceeded, text: "i/o timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				c, err := c.dialer.Dial(c.network, c.address)
				require.Nil(t, c)
				var opErr *net.OpError
				require.ErrorAs(t, err, &opErr)
				require.Equal(t, "dial", opErr.Op)
			})
			_, err := c.dialer.Dial(c.network, c.address)
			require.ErrorContains(t, err, c.text)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
		})
	}
}

// deaf returns an address where the attempt to connect neither succeeds nor fails: the backlog is full, and the kernel drops
// what comes (listen(2)).
func deaf(t *testing.T, address netip.AddrPort) netip.AddrPort {
	t.Helper()
	family, sockaddr := syscall.AF_INET, syscall.Sockaddr(&syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	if address.Addr().Is6() {
		family, sockaddr = syscall.AF_INET6, &syscall.SockaddrInet6{Addr: address.Addr().As16(), Port: int(address.Port())}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)) // as reserve has
	require.NoError(t, syscall.Bind(fd, sockaddr))
	require.NoError(t, syscall.Listen(fd, 0))
	bound, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	if in, ok := bound.(*syscall.SockaddrInet4); ok {
		address = netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
	}
	for {
		c, err := net.DialTimeout("tcp", address.String(), 50*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { c.Close() })
	}
}

// reserve keeps a port of ::1 for this test, until somebody listens there. It reports false if it is somebody else's. With SO_REUSEADDR on
// both, one socket may listen where another is only bound, and no connection gets the port for its own end (ip(7)).
func reserve(t *testing.T, port uint16) bool {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	err = syscall.Bind(fd, &syscall.SockaddrInet6{Addr: netip.IPv6Loopback().As16(), Port: int(port)})
	if err == syscall.EADDRINUSE {
		return false
	}
	require.NoError(t, err)
	return true
}

func TestDialTimeout(t *testing.T) {
	nobody := deaf(t, netip.AddrPort{}).String()
	within(t, func(t *testing.T) {
		begin := time.Now()
		_, err := (&coserver.Dialer{Timeout: 30 * time.Millisecond}).Dial("tcp", nobody)
		require.GreaterOrEqual(t, time.Since(begin), 30*time.Millisecond)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		var netErr net.Error
		require.ErrorAs(t, err, &netErr)
		require.True(t, netErr.Timeout())
	})
}

func TestDialCancelled(t *testing.T) {
	nobody := deaf(t, netip.AddrPort{}).String()
	within(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		timer := time.AfterFunc(20*time.Millisecond, cancel)
		defer timer.Stop()
		_, err := new(coserver.Dialer).DialContext(ctx, "tcp", nobody)
		require.ErrorIs(t, err, context.Canceled)
		var netErr net.Error
		require.ErrorAs(t, err, &netErr)
		require.False(t, netErr.Timeout())
	})
}

// nameServer answers every question for an IPv4 address with 127.0.0.1 and for an IPv6 address with ::1.
func nameServer(t *testing.T) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { pc.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buffer)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if err := message.Unpack(buffer[:n]); err != nil {
				continue
			}
			message.Response, message.RecursionAvailable, message.Additionals = true, true, nil
			question := message.Questions[0]
			header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 1}
			switch question.Type {
			case dnsmessage.TypeA:
				message.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
			case dnsmessage.TypeAAAA:
				message.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: netip.IPv6Loopback().As16()}}}
			}
			if answer, err := message.Pack(); err == nil {
				pc.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// A name with addresses of both families: whichever answers first wins (RFC 8305).
func TestHappyEyeballs(t *testing.T) {
	addr := start(t, &coserver.Server{Handler: echoNext}, "tcp").(*net.TCPAddr)
	for !reserve(t, addr.AddrPort().Port()) {
		addr = start(t, &coserver.Server{Handler: echoNext}, "tcp").(*net.TCPAddr)
	}
	both := net.JoinHostPort("both.test", addr.AddrPort().String()[strings.Index(addr.String(), ":")+1:])
	connect := func(t *testing.T, d coserver.Dialer, network string) {
		d.Resolver = nameServer(t)
		c, err := d.Dial(network, both)
		if !noError(t, err) {
			return
		}
		exchange(t, c, network)
		require.NoError(t, c.Close())
	}
	t.Run("IPv6 refuses", func(t *testing.T) {
		within(t, func(t *testing.T) {
			connect(t, coserver.Dialer{}, "tcp")
			connect(t, coserver.Dialer{}, "tcp4")
			connect(t, coserver.Dialer{FallbackDelay: -1}, "tcp")
			_, err := (&coserver.Dialer{Resolver: nameServer(t)}).Dial("tcp6", both)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		})
	})
	t.Run("IPv6 is silent", func(t *testing.T) {
		deaf(t, netip.AddrPortFrom(netip.IPv6Loopback(), addr.AddrPort().Port()))
		within(t, func(t *testing.T) {
			connect(t, coserver.Dialer{FallbackDelay: 10 * time.Millisecond}, "tcp")
		})
	})
	t.Run("both answer", func(t *testing.T) {
		ln, err := net.Listen("tcp6", net.JoinHostPort("::1", both[len("both.test:"):]))
		require.NoError(t, err)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					io.Copy(struct{ io.Writer }{c}, c) // not by splice, whose pipe package net keeps for a while
					c.Close()
				}()
			}
		}()
		defer ln.Close()
		within(t, func(t *testing.T) {
			connect(t, coserver.Dialer{FallbackDelay: time.Nanosecond}, "tcp")
		})
	})
}

// A proxy's two connections are on one loop, and none of its tasks waits on a channel.
func TestRelayStaysInline(t *testing.T) {
	upstream := start(t, &coserver.Server{Handler: echoNext}, "tcp")
	proxy := start(t, &coserver.Server{Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		up, err := coserver.Dial("tcp", upstream.String())
		if err != nil {
			return err
		}
		defer up.Close()
		return coserver.Relay(c, up.(*coserver.Conn))
	}}, "tcp")
	clients := make([]net.Conn, 20)
	for i := range clients {
		clients[i] = dial(t, proxy)
		exchange(t, clients[i], strings.Repeat("through the proxy ", i+1))
	}
	eventually(t, func() bool {
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		tasks := 0
		for _, stack := range bytes.Split(stacks, []byte("\n\n")) {
			if !bytes.Contains(stack, []byte("coserver.relayOne")) {
				continue
			}
			if bytes.Contains(stack, []byte("[coroutine")) { // parked: not waiting on a channel
				tasks++
			}
		}
		return tasks == 2*len(clients)
	}, "two parked tasks for each client")
	for _, c := range clients {
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		expectEOF(t, c)
	}
}

// The end of one direction is passed on and leaves the other: the answer comes after it.
func TestRelayHalfClose(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		engine := newEngine(t, coserver.EngineConfig{})
		upstream := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			question, err := io.ReadAll(c)
			if err != nil {
				return err
			}
			_, err = c.Write(bytes.Repeat(question, 1000))
			return err
		}}, "tcp")
		relayed := make(chan error, 1)
		proxy := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			up, err := coserver.Dial("tcp", upstream.String())
			if err != nil {
				return err
			}
			defer up.Close()
			err = coserver.Relay(c, up.(*coserver.Conn))
			relayed <- err
			return err
		}}, "tcp")
		c := dial(t, proxy)
		_, err := c.Write([]byte("question"))
		require.NoError(t, err)
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		answer, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("question", 1000), string(answer))
		require.NoError(t, receive(t, relayed))
	})
}

// When one side fails, the other is closed, and the failure is told.
func TestRelayFailure(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		engine := newEngine(t, coserver.EngineConfig{})
		upstream := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			if _, err := c.ReadFull(make([]byte, 1)); err != nil {
				return err
			}
			return errors.Join(c.SetLinger(0), c.Close())
		}}, "tcp")
		relayed := make(chan error, 1)
		proxy := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			up, err := coserver.Dial("tcp", upstream.String())
			if err != nil {
				return err
			}
			defer up.Close()
			relayed <- coserver.Relay(c, up.(*coserver.Conn))
			return nil
		}}, "tcp")
		c := dial(t, proxy)
		_, err := c.Write([]byte("x"))
		require.NoError(t, err)
		require.ErrorIs(t, receive(t, relayed), syscall.ECONNRESET)
		expectEnd(t, c)
	})
}

// Connections end with the engine that they were dialled on, and then there are no more.
func TestDialWhileEngineCloses(t *testing.T) {
	leak.Check(t)
	engine, err := coserver.NewEngine(coserver.EngineConfig{})
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c, err := (&coserver.Dialer{Engine: engine}).Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	require.NoError(t, engine.Close())
	require.ErrorIs(t, receive(t, read), net.ErrClosed)
	_, err = (&coserver.Dialer{Engine: engine}).Dial("tcp", ln.Addr().String())
	require.Error(t, err)
}
