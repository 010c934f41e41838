package coserver_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
)

// packetKernel is the machine's, but for what it says to datagrams when a test wants it to.
type packetKernel struct {
	sys.Kernel
	batches  atomic.Int64 // calls that have sent something
	segments atomic.Int64 // datagrams that arrived together with others of their peer

	mu      sync.Mutex
	send    func(call string) syscall.Errno // asked before each call that sends; 0: it is made
	receive func() syscall.Errno
	watched map[int]unix.EpollEvent
	epoll   int
}

func (k *packetKernel) EpollCtl(epfd, op, fd int, event unix.EpollEvent) syscall.Errno {
	if op == unix.EPOLL_CTL_ADD {
		k.mu.Lock()
		k.epoll, k.watched[fd] = epfd, event
		k.mu.Unlock()
	}
	return k.Kernel.EpollCtl(epfd, op, fd, event)
}

// edge makes the kernel tell anew of what all descriptors are ready for.
func (k *packetKernel) edge() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for fd, event := range k.watched {
		k.Kernel.EpollCtl(k.epoll, unix.EPOLL_CTL_MOD, fd, event)
	}
}

func (k *packetKernel) answers(send func(string) syscall.Errno, receive func() syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.send, k.receive = send, receive
}

func (k *packetKernel) sending(call string) syscall.Errno {
	k.mu.Lock()
	send := k.send
	k.mu.Unlock()
	if send == nil {
		return 0
	}
	return send(call)
}

func (k *packetKernel) SendTo(fd int, p []byte, to netip.AddrPort, inet6 bool) syscall.Errno {
	if errno := k.sending("sendto"); errno != 0 {
		return errno
	}
	return k.Kernel.SendTo(fd, p, to, inet6)
}

func (k *packetKernel) SendBatch(fd int, b *sys.SendBatch, first int) (int, syscall.Errno) {
	if errno := k.sending("sendmmsg"); errno != 0 {
		return 0, errno
	}
	k.batches.Add(1)
	return k.Kernel.SendBatch(fd, b, first)
}

func (k *packetKernel) RecvBatch(fd int, b *sys.RecvBatch) (int, syscall.Errno) {
	k.mu.Lock()
	receive := k.receive
	k.mu.Unlock()
	if receive != nil {
		if errno := receive(); errno != 0 {
			return 0, errno
		}
	}
	n, errno := k.Kernel.RecvBatch(fd, b)
	for _, m := range b.Messages[:n] {
		if m.Segment > 0 {
			k.segments.Add(int64(len(m.Data)+m.Segment-1) / int64(m.Segment))
		}
	}
	return n, errno
}

// startPacketsWith serves s with one loop on such a kernel.
func startPacketsWith(t *testing.T, s *coserver.PacketServer) (*packetKernel, net.Addr) {
	t.Helper()
	leak.Check(t)
	k := &packetKernel{Kernel: sys.Host, watched: make(map[int]unix.EpollEvent)}
	engine, err := coserver.NewEngineOn(k)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	s.Engine, s.Logger = engine, slog.New(slog.DiscardHandler)
	return k, startPackets(t, s)
}

// While the kernel has no room, Write waits, what is gathered is kept, and nothing is lost or overtaken.
func TestPacketWriteWaitsForRoom(t *testing.T) {
	const sent = 300
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		wrote := make(chan int, sent)
		sessions := make(chan *coserver.PacketSession, 1)
		k, addr := startPacketsWith(t, &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 2000)
			if _, err := s.Read(buffer); err != nil {
				return err
			}
			sessions <- s
			for i := range sent {
				if _, err := s.Write(fmt.Appendf(buffer[:0], "%d%s", i, strings.Repeat(".", i%2*1500))); err != nil {
					return err
				}
				wrote <- i
			}
			return nil
		}})
		var full atomic.Bool
		full.Store(true)
		k.answers(func(string) syscall.Errno {
			if full.Load() {
				return syscall.EAGAIN
			}
			return 0
		}, nil)
		c := dial(t, addr)
		require.NoError(t, c.(*net.UDPConn).SetReadBuffer(4<<20))
		_, err := io.WriteString(c, "begin")
		require.NoError(t, err)
		s := receive(t, sessions)
		eventually(t, func() bool { return coserver.PacketWriters(s) > 0 }, "Write waits")
		require.Less(t, len(wrote), sent, "not all of it is taken")
		full.Store(false)
		k.edge()
		for i := range sent {
			expectPacket(t, c, fmt.Sprintf("%d%s", i, strings.Repeat(".", i%2*1500)))
		}
	})
}

// A Write that waits for room ends at its deadline, and when the session is closed.
func TestPacketWriteDeadline(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		results := make(chan error, 2)
		sessions := make(chan *coserver.PacketSession, 1)
		k, addr := startPacketsWith(t, &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 1000)
			if _, err := s.Read(buffer); err != nil {
				return err
			}
			write := func() error {
				for {
					if _, err := s.Write(buffer); err != nil {
						return err
					}
				}
			}
			if err := s.SetWriteDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
				return err
			}
			results <- write()
			if err := s.SetWriteDeadline(time.Time{}); err != nil {
				return err
			}
			sessions <- s
			results <- write()
			return nil
		}})
		k.answers(func(string) syscall.Errno { return syscall.EAGAIN }, nil)
		_, err := io.WriteString(dial(t, addr), "begin")
		require.NoError(t, err)
		require.ErrorIs(t, receive(t, results), os.ErrDeadlineExceeded)
		s := receive(t, sessions)
		eventually(t, func() bool { return coserver.PacketWriters(s) > 0 }, "Write waits")
		require.NoError(t, s.Close())
		require.ErrorIs(t, receive(t, results), net.ErrClosed)
	})
}

// What the kernel says to one datagram concerns that alone: it is counted, the next Write of that session fails with it, and all others go out.
func TestPacketSendErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.ENETUNREACH, syscall.ENOBUFS} {
		t.Run(errno.Error(), func(t *testing.T) {
			results := make(chan error, 10)
			s := &coserver.PacketServer{Handler: func(s *coserver.PacketSession) error {
				buffer := make([]byte, 100)
				for {
					n, err := s.Read(buffer)
					if err != nil {
						return err
					}
					_, err = s.Write(buffer[:n])
					results <- err
				}
			}}
			k, addr := startPacketsWith(t, s)
			var once atomic.Bool
			once.Store(true)
			k.answers(func(string) syscall.Errno {
				if once.Swap(false) {
					return errno
				}
				return 0
			}, nil)
			c := dial(t, addr)
			_, err := io.WriteString(c, "refused")
			require.NoError(t, err)
			require.NoError(t, receive(t, results), "it has been gathered")
			eventually(t, func() bool { return s.Stats().SendErrors == 1 }, "counted")
			exchangePacket(t, c, "next")
			require.ErrorIs(t, receive(t, results), errno)
			exchangePacket(t, c, "and on")
			require.NoError(t, receive(t, results))
		})
	}
}

// faults.md: ECONNREFUSED of an earlier datagram ends nothing and costs no other datagram, on either side.
func TestPacketsAfterRefusals(t *testing.T) {
	s := &coserver.PacketServer{Handler: echoPackets}
	k, addr := startPacketsWith(t, s)
	var sends, receives atomic.Int64
	k.answers(func(call string) syscall.Errno {
		if call == "sendmmsg" && sends.Add(1)%2 == 1 {
			return syscall.ECONNREFUSED
		}
		return 0
	}, func() syscall.Errno {
		if receives.Add(1)%2 == 1 {
			return syscall.ECONNREFUSED
		}
		return 0
	})
	c := dial(t, addr)
	for i := range 20 {
		exchangePacket(t, c, fmt.Sprint("number ", i))
	}
	require.NotZero(t, s.Stats().ReceiveErrors)
	require.Zero(t, s.Stats().SendErrors)
}

// A socket that only fails costs no processor, and is served again when it is sound.
func TestReceivingRests(t *testing.T) {
	s := &coserver.PacketServer{Handler: echoPackets}
	k, addr := startPacketsWith(t, s)
	c := dial(t, addr)
	exchangePacket(t, c, "before")
	k.answers(nil, func() syscall.Errno { return syscall.ENOBUFS })
	_, err := io.WriteString(c, "waits")
	require.NoError(t, err)
	eventually(t, func() bool { return s.Stats().ReceiveErrors > 66 }, "it rests, and tries again")
	require.Less(t, s.Stats().ReceiveErrors, uint64(5000))
	k.answers(nil, nil)
	expectPacket(t, c, "waits")
}

// Where the kernel cannot cut a message of several datagrams after all, they go out one by one.
func TestSegmentsThatTheKernelRefuses(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EINVAL, syscall.EMSGSIZE, syscall.EIO} {
		t.Run(errno.Error(), func(t *testing.T) {
			s := &coserver.PacketServer{Handler: func(s *coserver.PacketSession) error {
				buffer := make([]byte, 100)
				if _, err := s.Read(buffer); err != nil {
					return err
				}
				for i := range 20 {
					if _, err := s.Write(fmt.Appendf(buffer[:0], "%02d", i)); err != nil {
						return err
					}
				}
				return nil
			}}
			k, addr := startPacketsWith(t, s)
			var calls atomic.Int64
			k.answers(func(call string) syscall.Errno {
				switch n := calls.Add(1); {
				case call == "sendmmsg" && n == 1:
					return errno
				case n == 5: // in the midst of them
					time.AfterFunc(time.Millisecond, k.edge)
					return syscall.EAGAIN
				case n == 6: // the second try, which tells that there is none from that there was none
					return syscall.EAGAIN
				}
				return 0
			}, nil)
			c := dial(t, addr)
			for range 2 {
				_, err := io.WriteString(c, "begin")
				require.NoError(t, err)
				for i := range 20 {
					expectPacket(t, c, fmt.Sprintf("%02d", i))
				}
			}
			require.Zero(t, s.Stats().SendErrors)
		})
	}
}

// The answers to a batch go out in few calls, and several to one peer as one message.
func TestPacketAnswersGoOutTogether(t *testing.T) {
	const sent = 40
	k, addr := startPacketsWith(t, &coserver.PacketServer{Carrier: coserver.Auto, Handler: func(s *coserver.PacketSession) error {
		buffer := make([]byte, 100)
		if _, err := s.Read(buffer); err != nil {
			return err
		}
		for i := range sent {
			if _, err := s.Write(fmt.Appendf(buffer[:0], "%02d", i)); err != nil {
				return err
			}
		}
		return nil
	}})
	c := dial(t, addr)
	_, err := io.WriteString(c, "begin")
	require.NoError(t, err)
	for i := range sent {
		expectPacket(t, c, fmt.Sprintf("%02d", i))
	}
	if !coserver.CanInline {
		return
	}
	require.EqualValues(t, 1, k.batches.Load())
}

// A peer's datagrams that the kernel hands over together are several for the handler.
func TestCoalescedPackets(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		k, addr := startPacketsWith(t, &coserver.PacketServer{Carrier: carrier, Handler: echoPackets})
		c := dial(t, addr).(*net.UDPConn)
		raw, err := c.SyscallConn()
		require.NoError(t, err)
		var failed error
		require.NoError(t, raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 5)
		}))
		if failed != nil {
			require.ErrorIs(t, failed, syscall.ENOPROTOOPT, "the kernel knows no segments")
			return
		}
		_, err = io.WriteString(c, "firstsecodthirdlas") // three of 5 bytes, and one of 3
		require.NoError(t, err)
		for _, message := range []string{"first", "secod", "third", "las"} {
			expectPacket(t, c, message)
		}
		require.EqualValues(t, 4, k.segments.Load())
	})
}
