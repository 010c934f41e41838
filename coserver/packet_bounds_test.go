package coserver_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// slowPackets is a handler that takes its first datagram, says so, waits until it may go on, and then tells what it reads.
type slowPackets struct {
	began, goOn chan struct{}
	read        chan string
}

func newSlowPackets() *slowPackets {
	return &slowPackets{make(chan struct{}, 10), make(chan struct{}), make(chan string, 1000)}
}

func (h *slowPackets) serve(s *coserver.PacketSession) error {
	buffer := make([]byte, 1<<16)
	for first := true; ; first = false {
		n, err := s.Read(buffer)
		if err != nil {
			return err
		}
		if !first {
			h.read <- string(buffer[:n])
			continue
		}
		h.began <- struct{}{}
		<-h.goOn
	}
}

func sendPackets(t *testing.T, c net.Conn, n int) {
	t.Helper()
	for i := range n {
		_, err := io.WriteString(c, strconv.Itoa(i))
		require.NoError(t, err)
	}
}

// What waits for a session is bounded, and each policy drops what it says.
func TestMaxWaiting(t *testing.T) {
	const most, sent = 5, 12
	for policy, want := range map[coserver.QueuePolicy][]string{
		coserver.DropNewest: {"0", "1", "2", "3", "4"},
		coserver.DropOldest: {"7", "8", "9", "10", "11"},
		coserver.CutSlow:    nil,
	} {
		t.Run(policy.String(), func(t *testing.T) {
			onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
				h := newSlowPackets()
				causes := make(chan error, 10)
				s := &coserver.PacketServer{Carrier: carrier, MaxWaiting: most, QueuePolicy: policy, Handler: func(s *coserver.PacketSession) error {
					ctx := s.Context()
					context.AfterFunc(ctx, func() { causes <- context.Cause(ctx) })
					return h.serve(s)
				}}
				c := dial(t, startPackets(t, s))
				_, err := io.WriteString(c, "first")
				require.NoError(t, err)
				receive(t, h.began)
				sendPackets(t, c, sent)
				if policy == coserver.CutSlow {
					require.ErrorIs(t, receive(t, causes), coserver.ErrQueueFull)
					require.EqualValues(t, 1, s.Stats().Cut)
					// One had no room before the cut, and one has none of those that come before the handler has returned.
					eventually(t, func() bool { return s.Stats().Dropped.MaxWaiting == sent/(most+1) }, "dropped")
					close(h.goOn)
					// What came after the cut is the next session's.
					receive(t, h.began)
					return
				}
				eventually(t, func() bool { return s.Stats().Dropped.MaxWaiting == sent-most }, "dropped")
				close(h.goOn)
				for _, text := range want {
					require.Equal(t, text, receive(t, h.read))
				}
				eventually(t, func() bool { return s.Stats().Waiting == 0 }, "nothing waits")
			})
		})
	}
}

// What waits for all sessions together is bounded too.
func TestMaxWaitingTotal(t *testing.T) {
	h := newSlowPackets()
	s := &coserver.PacketServer{MaxWaiting: 1000, MaxWaitingTotal: 70_000, Handler: h.serve}
	addr := startPackets(t, s)
	large := make([]byte, 10_000)
	for i := range 10 {
		c := dial(t, addr)
		_, err := io.WriteString(c, "first")
		require.NoError(t, err)
		receive(t, h.began)
		_, err = c.Write(large)
		require.NoError(t, err)
		eventually(t, func() bool {
			stats := s.Stats()
			return stats.Waiting/len(large)+int(stats.Dropped.MaxWaitingTotal) == i+1
		}, "taken or dropped")
	}
	stats := s.Stats()
	require.EqualValues(t, 4, stats.Dropped.MaxWaitingTotal)
	require.LessOrEqual(t, stats.Waiting, 70_000)
	close(h.goOn)
	eventually(t, func() bool { return s.Stats().Waiting == 0 }, "nothing waits")
}

// There are no more sessions than there may be, and a place is free again when a handler has returned.
func TestMaxSessions(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.PacketServer{Carrier: carrier, MaxSessions: 3, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 100)
			for {
				n, err := s.Read(buffer)
				if err != nil || string(buffer[:n]) == "bye" {
					return err
				}
				if _, err := s.Write(buffer[:n]); err != nil {
					return err
				}
			}
		}}
		addr := startPackets(t, s)
		var clients []net.Conn
		for range 3 {
			c := dial(t, addr)
			exchangePacket(t, c, "in")
			clients = append(clients, c)
		}
		out := dial(t, addr)
		for i := range 5 {
			_, err := io.WriteString(out, "out")
			require.NoError(t, err)
			eventually(t, func() bool { return s.Stats().Dropped.MaxSessions == uint64(i+1) }, "dropped")
		}
		require.Equal(t, 3, s.Stats().Active)
		exchangePacket(t, clients[0], "still in")
		_, err := io.WriteString(clients[0], "bye")
		require.NoError(t, err)
		eventually(t, func() bool { return s.Stats().Active == 2 }, "a place is free")
		exchangePacket(t, out, "in now")
	})
}

// A session that waits for longer than IdleTimeout is closed; one whose handler is busy is not, nor one that is written to.
func TestPacketIdleTimeout(t *testing.T) {
	const idle = 200 * time.Millisecond
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		results := make(chan error, 10)
		reports := make(chan error, 10)
		s := &coserver.PacketServer{
			Carrier: carrier, IdleTimeout: idle,
			OnError: func(_ *coserver.PacketSession, err error) { reports <- err },
			Handler: func(s *coserver.PacketSession) error {
				buffer := make([]byte, 100)
				for {
					n, err := s.Read(buffer)
					if err != nil {
						results <- err
						return err
					}
					if string(buffer[:n]) == "busy" {
						if err := coserver.Sleep(context.Background(), 3*idle); err != nil {
							return err
						}
					}
					if _, err := s.Write(buffer[:n]); err != nil {
						return err
					}
				}
			},
		}
		c := dial(t, startPackets(t, s))
		exchangePacket(t, c, "busy") // for longer than the limit
		begin := time.Now()
		err := receive(t, results)
		require.ErrorIs(t, err, coserver.ErrIdleTimeout)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.GreaterOrEqual(t, time.Since(begin), idle*9/10)
		eventually(t, func() bool { return s.Stats().Active == 0 }, "the session is over")
		require.EqualValues(t, 1, s.Stats().Idle)
		exchangePacket(t, c, "again")
		require.EqualValues(t, 2, s.Stats().Opened)
		require.Empty(t, reports, "the end of a session is no error")
	})
}

// What has come and was not read when the handler returns begins the next session: handlers may serve one datagram each.
func TestUnreadPacketsBeginTheNextSession(t *testing.T) {
	const sent = 50
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 100)
			n, err := s.Read(buffer)
			if err != nil {
				return err
			}
			_, err = s.Write(buffer[:n])
			return err
		}}
		c := dial(t, startPackets(t, s))
		sendPackets(t, c, sent)
		for i := range sent {
			expectPacket(t, c, strconv.Itoa(i))
		}
		eventually(t, func() bool { return s.Stats().Active == 0 }, "all sessions are over")
		require.EqualValues(t, sent, s.Stats().Opened)
	})
}

// The kernel holds what comes before Serve, as much as ReadBuffer says: twice as much as without it, on any machine whose net.core.rmem_max is no less than
// the default.
func TestPacketReadBuffer(t *testing.T) {
	held := func(s *coserver.PacketServer) uint64 {
		const sent, size = 200, 1500 // what the kernel counts for each is twice that, or more
		got := make(chan struct{}, sent)
		s.Sockets, s.MaxWaiting = 1, sent
		s.Handler = func(s *coserver.PacketSession) error {
			for {
				if _, err := s.Next(); err != nil {
					return err
				}
				got <- struct{}{}
			}
		}
		ln, err := s.Listen("udp", "127.0.0.1:0")
		require.NoError(t, err)
		c := dial(t, ln.Addr())
		for range sent {
			_, err := c.Write(make([]byte, size))
			require.NoError(t, err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		receive(t, got)
		_, err = c.Write(make([]byte, size)) // not before there is room
		require.NoError(t, err)
		count := uint64(1)
		for quiet := false; !quiet; {
			select {
			case <-got:
				count++
			case <-time.After(200 * time.Millisecond):
				quiet = true
			}
		}
		require.NoError(t, s.Shutdown(t.Context()))
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
		return count
	}
	least := held(&coserver.PacketServer{ReadBuffer: 1 << 14})
	most := held(&coserver.PacketServer{ReadBuffer: 1 << 17})
	require.Greater(t, most, 3*least)
}

// A handler that does not read is called once for each datagram, and not for ever.
func TestPacketHandlerThatDoesNotRead(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.PacketServer{Carrier: carrier, Handler: func(*coserver.PacketSession) error { return nil }}
		c := dial(t, startPackets(t, s))
		sendPackets(t, c, 20)
		eventually(t, func() bool { return s.Stats().Dropped.Closed == 20 }, "all are dropped")
		eventually(t, func() bool { return s.Stats().Active == 0 }, "all sessions are over")
		require.LessOrEqual(t, s.Stats().Opened, uint64(20))
	})
}

// swoole_socket_coro/recv_timeout, for datagrams: a deadline ends a Read, also one that waits already, and loses nothing.
func TestPacketDeadlines(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		results := make(chan string, 10)
		sessions := make(chan *coserver.PacketSession, 1)
		addr := startPackets(t, &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 100)
			read := func(deadline time.Time) {
				if err := s.SetReadDeadline(deadline); err != nil {
					results <- err.Error()
				}
				n, err := s.Read(buffer)
				if err != nil {
					if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
						results <- "timeout"
						return
					}
					results <- err.Error()
					return
				}
				results <- string(buffer[:n])
			}
			read(time.Time{})
			read(time.Now().Add(-time.Second))
			read(time.Now().Add(20 * time.Millisecond))
			sessions <- s
			read(time.Time{}) // ended from outside
			read(time.Now().Add(time.Hour))
			return nil
		}})
		c := dial(t, addr)
		_, err := io.WriteString(c, "first")
		require.NoError(t, err)
		require.Equal(t, "first", receive(t, results))
		require.Equal(t, "timeout", receive(t, results))
		require.Equal(t, "timeout", receive(t, results))
		s := receive(t, sessions)
		eventually(t, func() bool { return coserver.PacketReaders(s) > 0 }, "it waits")
		require.NoError(t, s.SetDeadline(time.Now().Add(10*time.Millisecond)))
		require.Equal(t, "timeout", receive(t, results))
		_, err = io.WriteString(c, "last")
		require.NoError(t, err)
		require.Equal(t, "last", receive(t, results))
	})
}

// swoole_socket_coro/closed, swoole_socket_coro/cancel, for datagrams: Close ends calls that wait, and all that come after it.
func TestPacketSessionClose(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		results := make(chan error, 10)
		sessions := make(chan *coserver.PacketSession, 1)
		s := &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 100)
			if _, err := s.Read(buffer); err != nil {
				return err
			}
			sessions <- s
			_, err := s.Read(buffer)
			results <- err
			_, err = s.Read(buffer)
			results <- err
			_, err = s.Write(buffer)
			results <- err
			results <- s.SetDeadline(time.Now())
			results <- s.SetWriteDeadline(time.Now())
			results <- s.Close()
			results <- context.Cause(s.Context())
			return nil
		}}
		c := dial(t, startPackets(t, s))
		_, err := io.WriteString(c, "begin")
		require.NoError(t, err)
		session := receive(t, sessions)
		eventually(t, func() bool { return coserver.PacketReaders(session) > 0 }, "it waits")
		require.NoError(t, session.Close())
		for range 7 {
			require.ErrorIs(t, receive(t, results), net.ErrClosed)
		}
	})
}

// Any goroutine may use a session, several at a time: each datagram is read once.
func TestPacketSessionManyReaders(t *testing.T) {
	const readers, sent = 4, 40
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		got := make(chan string, sent)
		c := dial(t, startPackets(t, &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			done := make(chan struct{}, readers)
			for range readers {
				go func() {
					defer func() { done <- struct{}{} }()
					buffer := make([]byte, 100)
					for {
						n, err := s.Read(buffer)
						if err != nil {
							return
						}
						got <- string(buffer[:n])
						if _, err := s.Write(buffer[:n]); err != nil {
							t.Error(err)
						}
					}
				}()
			}
			for range readers {
				<-done
			}
			return nil
		}}))
		want := make(map[string]bool)
		for i := range sent {
			message := fmt.Sprint(i)
			want[message] = true
			exchangePacket(t, c, message)
			delete(want, receive(t, got))
		}
		require.Empty(t, want)
	})
}
