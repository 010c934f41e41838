package coserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// Listen names every field that is wrong, not the first alone.
func TestEveryWrongFieldIsNamed(t *testing.T) {
	s := &coserver.Server{
		Carrier: 99, MaxConns: -1, MaxConnsPerIP: -1, AcceptRate: -1, AcceptBurst: -1, MaxHandshakes: -1, Overflow: 99, DrainRate: -1,
		IdleTimeout: -1, ReadTimeout: -1, WriteTimeout: -1, TLSConfig: clientTLS(),
	}
	_, err := s.Listen("tcp", "127.0.0.1:0")
	for _, field := range []string{
		"Handler", "Carrier", "MaxConns", "MaxConnsPerIP", "AcceptRate", "AcceptBurst", "MaxHandshakes", "Overflow", "DrainRate", "IdleTimeout",
		"ReadTimeout", "WriteTimeout", "TLSConfig",
	} {
		require.ErrorContains(t, err, "Server."+field+" ")
	}
	for field, s := range map[string]*coserver.Server{
		"AcceptBurst": {Handler: echoNext, AcceptBurst: 1},
		"AcceptRate":  {Handler: echoNext, AcceptRate: 1 << 30},
	} {
		_, err := s.Listen("tcp", "127.0.0.1:0")
		require.ErrorContains(t, err, "Server."+field)
	}
}

// crowd counts how many handlers run, how many did at most, and how many have begun.
type crowd struct{ now, most, begun atomic.Int64 }

func (c *crowd) enter() {
	c.begun.Add(1)
	n := c.now.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
}

func (c *crowd) leave() { c.now.Add(-1) }

// visitByte makes a connection, sends one byte, and reports whether it came back. The connection ends as the byte says.
func visitByte(addr net.Addr, kind byte) (served bool, err error) {
	return visitByteBy(&net.Dialer{Timeout: patience}, addr, kind)
}

func visitByteBy(dialer *net.Dialer, addr net.Addr, kind byte) (served bool, err error) {
	c, err := dialer.Dial(addr.Network(), addr.String())
	if err != nil {
		return false, ignoreReset(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return false, err
	}
	if kind == 'r' {
		if tcp, ok := c.(*net.TCPConn); ok {
			if err := tcp.SetLinger(0); err != nil {
				return false, err
			}
		}
	}
	one := []byte{kind}
	if _, err := c.Write(one); err != nil {
		return false, ignoreReset(err)
	}
	if kind == 'q' { // does not wait for the answer
		return true, nil
	}
	if _, err := io.ReadFull(c, one); err != nil {
		return false, ignoreReset(err)
	}
	return true, nil
}

// ignoreReset returns nil for what a client sees that is refused.
func ignoreReset(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// endsOf are the ways a connection ends: see crowded.
const endsOf = "crqegpxt"

// crowded is a server whose handlers answer one byte and end as it says. crowd counts them.
func crowded(carrier coserver.Carrier, c *crowd) *coserver.Server {
	return &coserver.Server{Carrier: carrier, OnError: func(*coserver.Conn, error) {}, Handler: func(conn *coserver.Conn) error {
		c.enter()
		defer c.leave()
		var one [1]byte
		if _, err := conn.ReadFull(one[:]); err != nil {
			return err
		}
		if _, err := conn.Write(one[:]); err != nil {
			return err
		}
		switch one[0] {
		case 'e':
			return errTest
		case 'g':
			runtime.Goexit()
		case 'p':
			panic(errTest)
		case 'x':
			return conn.Close()
		case 't': // its loop goes on without it
			time.Sleep(3 * time.Millisecond)
		}
		_, err := conn.Next() // the client closes, by a reset or not
		return err
	}}
}

// faults.md M7, M8: under churn there are never more connections than allowed, and each gives its place to another, however it
// ends.
func TestMaxConnsUnderChurn(t *testing.T) {
	const most, clients, each = 5, 16, 30
	for _, kind := range []string{"tcp", "unix", "tcp shared"} {
		for _, overflow := range []coserver.Overflow{coserver.Backlog, coserver.Refuse} {
			t.Run(kind+" "+overflow.String(), func(t *testing.T) {
				onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
					var c crowd
					s := crowded(carrier, &c)
					s.MaxConns, s.Overflow = most, overflow
					network, _, shared := strings.Cut(kind, " ")
					s.ReusePort = shared
					addr := start(t, s, network)
					var served atomic.Int64
					var all sync.WaitGroup
					for i := range clients {
						all.Go(func() {
							for j := range each {
								ok, err := visitByte(addr, endsOf[(i+j)%len(endsOf)])
								if err != nil && overflow == coserver.Backlog {
									t.Error(err)
								}
								if ok {
									served.Add(1)
								}
							}
						})
					}
					all.Wait()
					require.LessOrEqual(t, c.most.Load(), int64(most))
					eventually(t, func() bool { return s.Stats().Active == 0 }, "a connection is left")
					if overflow == coserver.Backlog {
						require.EqualValues(t, clients*each, served.Load())
						require.Zero(t, s.Stats().Refused)
					}
					// Each place is free again, and none more.
					for range most {
						exchange(t, dial(t, addr), "c")
					}
					require.EqualValues(t, most, c.now.Load())
					require.Equal(t, most, s.Stats().Active)
				})
			})
		}
	}
}

// faults.md M7, M8: each connection is counted once: as one that was let in, or as refused and for what reason. No place is lost by a
// refusal.
func TestEachConnectionIsCountedOnce(t *testing.T) {
	const most, perIP, clients, each = 5, 3, 16, 30
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var c crowd
		s := crowded(carrier, &c)
		s.MaxConns, s.MaxConnsPerIP, s.Overflow = most, perIP, coserver.Refuse
		addr := start(t, s, "tcp")
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%4))}}
				for j := range each {
					_, err := visitByteBy(&dialer, addr, endsOf[(i+j)%len(endsOf)])
					noError(t, err)
				}
			})
		}
		all.Wait()
		eventually(t, func() bool {
			stats := s.Stats()
			return stats.Active == 0 && stats.Accepted+stats.Refused.MaxConns+stats.Refused.MaxConnsPerIP == clients*each
		}, "one is not counted")
		stats := s.Stats()
		require.EqualValues(t, c.begun.Load(), stats.Accepted)
		require.NotZero(t, stats.Refused)
		require.Equal(t, coserver.RefusedStats{MaxConns: stats.Refused.MaxConns, MaxConnsPerIP: stats.Refused.MaxConnsPerIP}, stats.Refused)
		for i := range most {
			exchange(t, dialFrom(t, []string{"127.0.0.1", "127.0.0.2"}[i/perIP], addr), "c")
		}
		requireRefused(t, addr)
	})
}

// faults.md M8, S2: a server that ends and begins again all the time, in order or not, while clients come, keeps count of them. When
// all is over each place is free.
func TestCountsAcrossRestarts(t *testing.T) {
	const most, perIP, restarts = 5, 4, 30
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var c crowd
		s := crowded(carrier, &c)
		s.Engine = newEngine(t, coserver.EngineConfig{Loops: 2})
		s.MaxConns, s.MaxConnsPerIP = most, perIP
		var addr atomic.Pointer[net.Addr]
		var over atomic.Bool
		var clients sync.WaitGroup
		begin := func() (served <-chan error) {
			at, served := startServing(t, s)
			addr.Store(&at)
			return served
		}
		served := begin()
		for i := range 12 {
			clients.Go(func() {
				dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%2))}}
				for j := 0; !over.Load(); j++ {
					_, err := visitByteBy(&dialer, *addr.Load(), endsOf[(i+j)%len(endsOf)])
					noError(t, err)
				}
			})
		}
		for i := range restarts {
			before := s.Stats().Accepted
			eventually(t, func() bool { return s.Stats().Accepted >= before+most }, "nobody is let in")
			if i%2 == 0 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				if err := s.Shutdown(ctx); err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
				}
				cancel()
			} else {
				require.NoError(t, s.Close())
			}
			require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
			served = begin()
		}
		over.Store(true)
		clients.Wait()
		eventually(t, func() bool { return s.Stats().Active == 0 }, "a connection is left")
		require.LessOrEqual(t, c.most.Load(), int64(most))
		require.EqualValues(t, c.begun.Load(), s.Stats().Accepted)
		eventually(t, func() bool { conns, addresses := coserver.Admitted(s); return conns == 0 && addresses == 0 }, "a place is lost")
		for i := range most {
			exchange(t, dialFrom(t, []string{"127.0.0.1", "127.0.0.2"}[i/perIP], *addr.Load()), "c")
		}
		require.NoError(t, s.Close())
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
}

// faults.md M7: a client too many waits until a place is free, and then is served.
func TestMaxConnsBacklog(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Handler: echoNext, Carrier: carrier, MaxConns: 2}
		addr := start(t, s, "tcp")
		one, two, three := dial(t, addr), dial(t, addr), dial(t, addr)
		exchange(t, one, "one")
		exchange(t, two, "two")
		_, err := io.WriteString(three, "three")
		require.NoError(t, err)
		eventually(t, func() bool { return s.Stats().Paused.MaxConns > 0 }, "accepting does not rest")
		exchange(t, one, "goes on")
		require.Equal(t, 2, s.Stats().Active)
		require.NoError(t, one.Close())
		answer := make([]byte, 5)
		_, err = io.ReadFull(three, answer)
		require.NoError(t, err)
		require.Equal(t, "three", string(answer))
		require.EqualValues(t, 3, s.Stats().Accepted)
	})
}

// faults.md M7: a client too many is told at once, those that are there go on, and a place that is free is taken.
func TestMaxConnsRefuse(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Handler: echoNext, Carrier: carrier, MaxConns: 2, Overflow: coserver.Refuse}
		addr := start(t, s, "tcp")
		one, two := dial(t, addr), dial(t, addr)
		exchange(t, one, "one")
		exchange(t, two, "two")
		for i := range 3 {
			requireRefused(t, addr)
			require.EqualValues(t, i+1, s.Stats().Refused.MaxConns)
		}
		exchange(t, one, "goes on")
		require.NoError(t, two.Close())
		eventually(t, func() bool { return s.Stats().Active == 1 }, "the place is not free")
		exchange(t, dial(t, addr), "three")
	})
}

// All listeners of a server share its places, and each goes on when one is free.
func TestMaxConnsOfSeveralListeners(t *testing.T) {
	s := &coserver.Server{Handler: echoNext, MaxConns: 1}
	addrs := []net.Addr{start(t, s, "tcp")}
	for _, network := range []string{"tcp", "unix"} {
		ln, err := s.Listen(network, address(t, network))
		require.NoError(t, err)
		go s.Serve(ln)
		addrs = append(addrs, ln.Addr())
	}
	for range 10 {
		var all sync.WaitGroup
		for _, addr := range addrs {
			all.Go(func() {
				served, err := visitByte(addr, 'x')
				noError(t, err)
				if !served {
					t.Error("not served")
				}
			})
		}
		all.Wait()
	}
	require.Zero(t, s.Stats().Refused)
}

// requireRefused fails the test if a client is not reset at once. It may not even learn that it was connected.
func requireRefused(t *testing.T, addr net.Addr) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr.String(), patience)
	if err == nil {
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		_, err = c.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func dialFrom(t *testing.T, ip string, addr net.Addr) net.Conn {
	t.Helper()
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	c, err := dialer.Dial("tcp", addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// One address cannot take all places.
func TestMaxConnsPerIP(t *testing.T) {
	for _, overflow := range []coserver.Overflow{coserver.Backlog, coserver.Refuse} {
		t.Run(overflow.String(), func(t *testing.T) {
			s := &coserver.Server{Handler: echoNext, MaxConnsPerIP: 2, MaxConns: 3, Overflow: overflow}
			addr := start(t, s, "tcp")
			one := dialFrom(t, "127.0.0.1", addr)
			exchange(t, one, "one")
			exchange(t, dialFrom(t, "127.0.0.1", addr), "two")
			for i := range 5 { // more than there are places, so a refusal has to give its own back
				requireRefused(t, addr)
				require.EqualValues(t, i+1, s.Stats().Refused.MaxConnsPerIP)
			}
			other := dialFrom(t, "127.0.0.2", addr)
			exchange(t, other, "another address")
			require.NoError(t, other.Close())
			require.NoError(t, one.Close())
			eventually(t, func() bool { return s.Stats().Active == 1 }, "the place is not free")
			exchange(t, dialFrom(t, "127.0.0.1", addr), "three")
		})
	}
}

func TestMaxConnsPerIPUnderChurn(t *testing.T) {
	const most = 3
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var c crowd
		s := crowded(carrier, &c)
		s.MaxConnsPerIP = most
		addr := start(t, s, "tcp")
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				for j := range 30 {
					_, err := visitByte(addr, endsOf[(i+j)%len(endsOf)])
					noError(t, err)
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, c.most.Load(), int64(most))
		eventually(t, func() bool { return s.Stats().Active == 0 }, "a connection is left")
		for range most {
			exchange(t, dial(t, addr), "c")
		}
		requireRefused(t, addr)
	})
}

// Unix sockets have no address to count by.
func TestMaxConnsPerIPOfUnixSockets(t *testing.T) {
	addr := start(t, &coserver.Server{Handler: echoNext, MaxConnsPerIP: 1}, "unix")
	exchange(t, dial(t, addr), "one")
	exchange(t, dial(t, addr), "two")
}

func TestWhatCountsAsOneIP(t *testing.T) {
	for peer, want := range map[string]string{
		"192.0.2.1:1":                          "192.0.2.1",
		"[::ffff:192.0.2.1]:1":                 "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:1":             "2001:db8:1:2::",
		"[2001:db8:1:2:ffff:ffff:ffff:ffff]:2": "2001:db8:1:2::",
		"[2001:db8:1:3::1]:1":                  "2001:db8:1:3::",
		"[::1]:1":                              "::",
		"[fe80::1%2]:1":                        "fe80::1%2",
	} {
		require.Equal(t, want, coserver.CountedIP(netip.MustParseAddrPort(peer)).String(), peer)
	}
	require.False(t, coserver.CountedIP(netip.AddrPort{}).IsValid())
}

// Places that a Shutdown had to leave to handlers that go on are not given out again by the next run of the server.
func TestMaxConnsAcrossRestart(t *testing.T) {
	over := make(chan struct{})
	begun := make(chan struct{}, 10)
	s := &coserver.Server{Engine: newEngine(t, coserver.EngineConfig{}), Carrier: coserver.Channel, MaxConns: 2}
	s.Handler = func(c *coserver.Conn) error {
		if data, err := c.Next(); err != nil || string(data) != "stay" {
			return err
		}
		begun <- struct{}{}
		<-over
		return nil
	}
	first := start(t, s, "tcp")
	_, err := io.WriteString(dial(t, first), "stay")
	require.NoError(t, err)
	receive(t, begun)
	require.NoError(t, s.Close())

	ln, err := s.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	_, err = io.WriteString(dial(t, ln.Addr()), "stay")
	require.NoError(t, err)
	receive(t, begun)
	third := dial(t, ln.Addr())
	_, err = io.WriteString(third, "go")
	require.NoError(t, err)
	eventually(t, func() bool { return s.Stats().Paused.MaxConns > 0 }, "accepting does not rest")
	require.Equal(t, 2, s.Stats().Active)
	close(over)
	expectEOF(t, third)
	require.NoError(t, s.Close())
	require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
}
