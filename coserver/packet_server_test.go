package coserver_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// startPackets serves s until the test ends, and fails the test if anything is left then.
func startPackets(t *testing.T, s *coserver.PacketServer) net.Addr {
	t.Helper()
	return startPacketsOn(t, s, "udp", "127.0.0.1:0")
}

func startPacketsOn(t *testing.T, s *coserver.PacketServer, network, address string) net.Addr {
	t.Helper()
	if s.Engine == nil {
		leak.Check(t)
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	ln, err := s.Listen(network, address)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
	return ln.Addr()
}

func echoPackets(s *coserver.PacketSession) error {
	buffer := make([]byte, 1<<16)
	for {
		n, err := s.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := s.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

// echoNextPackets is the echo without a buffer.
func echoNextPackets(s *coserver.PacketSession) error {
	for {
		data, err := s.Next()
		if err != nil {
			return err
		}
		if _, err := s.Write(data); err != nil {
			return err
		}
	}
}

// exchangePacket sends message and expects the same back, as one datagram.
func exchangePacket(t *testing.T, c net.Conn, message string) {
	t.Helper()
	_, err := io.WriteString(c, message)
	require.NoError(t, err)
	expectPacket(t, c, message)
}

func expectPacket(t *testing.T, c net.Conn, message string) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	answer := make([]byte, 1<<16)
	n, err := c.Read(answer)
	require.NoError(t, err)
	require.Equal(t, message, string(answer[:n]))
}

func TestPacketServerIsValidated(t *testing.T) {
	for field, s := range map[string]*coserver.PacketServer{
		"Handler":         {},
		"Carrier":         {Carrier: 99},
		"MaxSessions":     {MaxSessions: -1},
		"MaxWaiting":      {MaxWaiting: -1},
		"MaxWaitingTotal": {MaxWaitingTotal: 100},
		"Sockets":         {Sockets: -1},
		"ReadBuffer":      {ReadBuffer: -1},
		"WriteBuffer":     {WriteBuffer: -1},
		"QueuePolicy":     {QueuePolicy: 99},
	} {
		if field != "Handler" {
			s.Handler = echoPackets
		}
		_, err := s.Listen("udp", "127.0.0.1:0")
		require.ErrorContains(t, err, "PacketServer."+field)
		require.Nil(t, s.Addr())
	}
	s := &coserver.PacketServer{Handler: echoPackets}
	_, err := s.Listen("tcp", "127.0.0.1:0")
	require.ErrorContains(t, err, "tcp")
}

// swoole_server/object/packet, swoole_socket_coro/sendto: what comes goes back to where it came from.
func TestPacketEcho(t *testing.T) {
	for _, place := range []struct{ network, address string }{{"udp", "127.0.0.1:0"}, {"udp4", ":0"}, {"udp6", "[::1]:0"}, {"udp", ":0"}} {
		t.Run(place.network+" "+place.address, func(t *testing.T) {
			onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
				addr := startPacketsOn(t, &coserver.PacketServer{Carrier: carrier, Handler: echoPackets}, place.network, place.address)
				hosts := []string{"127.0.0.1"}
				switch {
				case place.network == "udp6":
					hosts = []string{"::1"}
				case place.network == "udp" && place.address == ":0": // both kinds of addresses on one socket
					hosts = []string{"127.0.0.1", "::1"}
				}
				for _, host := range hosts {
					for range 5 {
						c := dial(t, &net.UDPAddr{IP: net.ParseIP(host), Port: addr.(*net.UDPAddr).Port})
						for _, message := range []string{"one", "", "another one"} {
							exchangePacket(t, c, message)
						}
					}
				}
			})
		})
	}
}

// swoole_server/big_udp_packet, swoole_socket_coro/sendto_big, sendto_large_packet: a datagram comes whole, up to the largest that there is, and one that is larger
// is an error.
func TestLargestPackets(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		results := make(chan error, 1)
		addr := startPackets(t, &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 1<<16)
			n, err := s.Read(buffer)
			if err != nil {
				return err
			}
			if _, err := s.Write(buffer[:n]); err != nil {
				return err
			}
			_, err = s.Write(make([]byte, loop.MaxDatagram+1))
			results <- err
			return nil
		}})
		c := dial(t, addr)
		exchangePacket(t, c, strings.Repeat("0123456789", 7000)[:loop.MaxDatagram])
		err := receive(t, results)
		require.ErrorIs(t, err, syscall.EMSGSIZE)
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		require.Equal(t, "write", op.Op)
	})
}

// What does not fit the buffer is lost, and the caller learns it.
func TestPacketShortBuffer(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		type result struct {
			text string
			err  error
		}
		results := make(chan result, 3)
		addr := startPackets(t, &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			for {
				buffer := make([]byte, 4)
				n, from, err := s.ReadFrom(buffer)
				if n == 0 {
					return err
				}
				require.Equal(t, s.RemoteAddr(), from)
				results <- result{string(buffer[:n]), err}
			}
		}})
		c := dial(t, addr)
		for _, message := range []string{"four", "fives", "six"} {
			_, err := io.WriteString(c, message)
			require.NoError(t, err)
		}
		require.Equal(t, result{"four", nil}, receive(t, results))
		short := receive(t, results)
		require.Equal(t, "five", short.text)
		require.ErrorIs(t, short.err, io.ErrShortBuffer)
		require.Equal(t, result{"six", nil}, receive(t, results))
	})
}

// What comes from an address is served in order, one datagram after the other, and nobody gets what is another's.
func TestPacketsInOrder(t *testing.T) {
	const peers, rounds, window = 20, 50, 8
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var inside sync.Map
		addr := startPackets(t, &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			if _, twice := inside.LoadOrStore(s.Peer(), true); twice {
				t.Error("two handlers for one peer")
			}
			defer inside.Delete(s.Peer())
			return echoNextPackets(s)
		}})
		var all sync.WaitGroup
		for peer := range peers {
			c := dial(t, addr)
			all.Go(func() {
				answer := make([]byte, 100)
				for round := range rounds {
					for i := range window {
						fmt.Fprintf(c, "peer %d, number %d", peer, round*window+i)
					}
					for i := range window {
						n, err := c.Read(answer)
						if want := fmt.Sprintf("peer %d, number %d", peer, round*window+i); err != nil || string(answer[:n]) != want {
							t.Errorf("got %q, %v, want %q", answer[:n], err, want)
							return
						}
					}
				}
			})
		}
		all.Wait()
	})
}

// A handler that falls ends its session, is reported, and hurts nobody else; the same peer may come again.
func TestFallingPacketHandlers(t *testing.T) {
	falls := map[string]struct {
		fall func() error
		want error
	}{
		"panic":  {func() error { panic(errTest) }, errTest},
		"Goexit": {func() error { runtime.Goexit(); return nil }, coserver.ErrHandlerExited},
		"error":  {func() error { return errTest }, errTest},
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, test := range falls {
			t.Run(name, func(t *testing.T) {
				reports, causes := make(chan error, 10), make(chan error, 10)
				s := &coserver.PacketServer{
					Carrier: carrier,
					OnError: func(_ *coserver.PacketSession, err error) { reports <- err },
					Handler: func(s *coserver.PacketSession) error {
						ctx := s.Context()
						context.AfterFunc(ctx, func() { causes <- context.Cause(ctx) })
						buffer := make([]byte, 100)
						for {
							n, err := s.Read(buffer)
							if err != nil {
								return err
							}
							if string(buffer[:n]) == "fall" {
								return test.fall()
							}
							if _, err := s.Write(buffer[:n]); err != nil {
								return err
							}
						}
					},
				}
				addr := startPackets(t, s)
				other, falling := dial(t, addr), dial(t, addr)
				exchangePacket(t, other, "before")
				for range 3 {
					exchangePacket(t, falling, "alive")
					_, err := io.WriteString(falling, "fall")
					require.NoError(t, err)
					require.ErrorIs(t, receive(t, reports), test.want)
					require.ErrorIs(t, receive(t, causes), test.want)
					exchangePacket(t, other, "meanwhile")
				}
				exchangePacket(t, falling, "again")
				stats := s.Stats()
				require.EqualValues(t, 3, stats.HandlerErrors+stats.Panics)
				require.EqualValues(t, 5, stats.Opened)
			})
		}
	})
}

// A handler that blocks holds up no other peer, and what comes for it meanwhile waits.
func TestBlockedPacketHandler(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		release := make(chan struct{})
		engine := newEngine(t, coserver.EngineConfig{Loops: 1})
		addr := startPackets(t, &coserver.PacketServer{Engine: engine, Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 100)
			for {
				n, err := s.Read(buffer)
				if err != nil {
					return err
				}
				if string(buffer[:n]) == "block" {
					<-release
				}
				if _, err := s.Write(buffer[:n]); err != nil {
					return err
				}
			}
		}})
		blocked, other := dial(t, addr), dial(t, addr)
		for _, message := range []string{"first", "block", "waits", "waits too"} {
			_, err := io.WriteString(blocked, message)
			require.NoError(t, err)
		}
		expectPacket(t, blocked, "first") // its loop goes on without it, and sends what was gathered
		exchangePacket(t, other, "not held up")
		close(release)
		for _, message := range []string{"block", "waits", "waits too"} {
			expectPacket(t, blocked, message)
		}
	})
}

// A peer that is gone before its answer comes makes no error, or one that ends nothing.
func TestAnswersThatNobodyTakes(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 100)
			n, err := s.Read(buffer)
			if err != nil {
				return err
			}
			for range 10 { // the answers to the first make the kernel tell of it with the later ones, if it does
				if _, err := s.Write(buffer[:n]); err != nil {
					return err
				}
			}
			return nil
		}}
		addr := startPackets(t, s)
		other := dial(t, addr)
		for range 20 {
			gone := dial(t, addr)
			_, err := io.WriteString(gone, "gone")
			require.NoError(t, err)
			require.NoError(t, gone.Close())
			exchangePacket(t, other, "there")
			for range 9 {
				expectPacket(t, other, "there")
			}
		}
		require.Zero(t, s.Stats().Panics)
	})
}

// Several sockets share an address, but not with somebody else's.
func TestPacketAddressInUse(t *testing.T) {
	addr := startPackets(t, &coserver.PacketServer{Handler: echoPackets})
	s := &coserver.PacketServer{Handler: echoPackets}
	require.ErrorIs(t, s.ListenAndServe("udp", addr.String()), syscall.EADDRINUSE)
	require.Nil(t, s.Addr())
	_, err := net.ListenPacket("udp", addr.String())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}

// Each peer stays at one loop, and all loops have some.
func TestPeersStayAtTheirLoops(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 4})
	var mu sync.Mutex
	loops := make(map[int]bool)
	s := &coserver.PacketServer{Engine: engine, Handler: func(s *coserver.PacketSession) error {
		mu.Lock()
		loops[coserver.PacketLoop(s)] = true
		mu.Unlock()
		return echoPackets(s)
	}}
	addr := startPackets(t, s)
	const peers = 100
	for i := range peers {
		c := dial(t, addr)
		for range 3 {
			exchangePacket(t, c, fmt.Sprint(i))
		}
	}
	require.EqualValues(t, peers, s.Stats().Opened)
	require.Len(t, loops, 4)
}
