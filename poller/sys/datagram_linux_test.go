package sys_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/poller/sys"
)

func listenPacket(t *testing.T, network, address string) (fd int, addr netip.AddrPort) {
	t.Helper()
	fd, bound, err := sys.Host.ListenPacket(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { sys.Host.Close(fd) })
	return fd, bound.(*net.UDPAddr).AddrPort()
}

// receiveBatch waits for messages: what is sent within one machine is there, but the kernel may not have got to it.
func receiveBatch(t *testing.T, fd int, b *sys.RecvBatch) []sys.Message {
	t.Helper()
	var n int
	require.Eventually(t, func() bool {
		var errno syscall.Errno
		n, errno = sys.Host.RecvBatch(fd, b)
		return errno == 0
	}, 10*time.Second, time.Millisecond)
	return b.Messages[:n]
}

// Batches carry datagrams of several peers, on sockets of each kind, time and again.
func TestBatches(t *testing.T) {
	for network, address := range map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"} {
		t.Run(network, func(t *testing.T) {
			inet6 := network == "udp6"
			to, addr := listenPacket(t, network, address)
			in, out := sys.NewRecvBatch(16), sys.NewSendBatch(4)
			var from []netip.AddrPort
			for peer := range 3 {
				fd, own := listenPacket(t, network, address)
				from = append(from, own)
				for round := range 5 {
					out.Reset()
					var want []string
					for !out.Full() {
						text := strings.Repeat(fmt.Sprint(peer, round, out.Len(), " "), out.Len()*100)
						want = append(want, text)
						out.Add(sys.Message{Addr: addr, Data: []byte(text)}, inet6)
					}
					require.Equal(t, 4, out.Len())
					n, errno := sys.Host.SendBatch(fd, out, 0)
					require.Zero(t, errno)
					require.Equal(t, 4, n)
					for len(want) > 0 {
						for _, m := range receiveBatch(t, to, in) {
							require.Equal(t, from[peer], m.Addr)
							require.Equal(t, want[0], string(m.Data))
							require.Zero(t, m.Segment)
							want = want[1:]
						}
					}
				}
			}
			_, errno := sys.Host.RecvBatch(to, in)
			require.Equal(t, syscall.EAGAIN, errno)
		})
	}
}

// What is sent as one message of several datagrams arrives so where that is asked for, and cut elsewhere.
func TestSegments(t *testing.T) {
	fd, _ := listenPacket(t, "udp4", "127.0.0.1:0")
	if !sys.Host.CanSegment(fd) {
		return // a kernel before 4.18
	}
	whole, toWhole := listenPacket(t, "udp4", "127.0.0.1:0")
	cut, toCut := listenPacket(t, "udp4", "127.0.0.1:0")
	coalesces := sys.Host.CoalescePackets(whole) == 0 // from 5.0 on
	out := sys.NewSendBatch(2)
	for _, to := range []netip.AddrPort{toWhole, toCut} {
		out.Add(sys.Message{Addr: to, Data: []byte("one two tri 4"), Segment: 4}, false)
	}
	n, errno := sys.Host.SendBatch(fd, out, 0)
	require.Zero(t, errno)
	require.Equal(t, 2, n)
	in := sys.NewRecvBatch(8)
	if coalesces {
		messages := receiveBatch(t, whole, in)
		require.Len(t, messages, 1)
		require.Equal(t, "one two tri 4", string(messages[0].Data))
		require.Equal(t, 4, messages[0].Segment)
	}
	for _, want := range []string{"one ", "two ", "tri ", "4"} {
		buffer := make([]byte, 100)
		n, size, _, errno := sys.Host.RecvFrom(cut, buffer)
		require.Zero(t, errno)
		require.Equal(t, want, string(buffer[:n]))
		require.Equal(t, len(want), size)
	}
}

// RecvFrom tells what is lost, and addresses of IPv4 are themselves on a socket of both kinds.
func TestRecvFrom(t *testing.T) {
	fd, own := listenPacket(t, "udp4", "127.0.0.1:0")
	both, addr := listenPacket(t, "udp", ":0")
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port())
	require.Zero(t, sys.Host.SendTo(fd, []byte("longer"), to, false))
	buffer := make([]byte, 4)
	n, size, from, errno := sys.Host.RecvFrom(both, buffer)
	require.Zero(t, errno)
	require.Equal(t, "long", string(buffer[:n]))
	require.Equal(t, 6, size)
	require.Equal(t, own, from)
	require.Zero(t, sys.Host.SendTo(both, []byte("back"), from, true))
	n, _, from, errno = sys.Host.RecvFrom(fd, buffer)
	require.Zero(t, errno)
	require.Equal(t, "back", string(buffer[:n]))
	require.Equal(t, to, from)
	require.Equal(t, syscall.EMSGSIZE, sys.Host.SendTo(fd, make([]byte, sys.MaxDatagram+1), to, false))
	_, _, _, errno = sys.Host.RecvFrom(fd, buffer)
	require.Equal(t, syscall.EAGAIN, errno)
}

// An address is shared among those that SharePacket gives, and with nobody who has it before or does not ask.
func TestSharePacket(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		first, addr := listenPacket(t, "udp", address)
		shared := []int{first}
		for range 3 {
			fd, err := sys.Host.SharePacket(first)
			require.NoError(t, err)
			defer sys.Host.Close(fd)
			shared = append(shared, fd)
		}
		_, _, err := sys.Host.ListenPacket("udp", addr.String())
		require.ErrorIs(t, err, syscall.EADDRINUSE)

		host := addr.Addr()
		if host.IsUnspecified() {
			host = netip.MustParseAddr("127.0.0.1")
		}
		in := sys.NewRecvBatch(64)
		busy := make(map[int]bool)
		for range 64 {
			peer, own := listenPacket(t, "udp", netip.AddrPortFrom(host, 0).String())
			for range 3 {
				require.Zero(t, sys.Host.SendTo(peer, []byte("x"), netip.AddrPortFrom(host, addr.Port()), host.Is6()))
			}
			got := 0
			for i, fd := range shared {
				n, errno := sys.Host.RecvBatch(fd, in)
				if errno == syscall.EAGAIN {
					continue
				}
				require.Zero(t, errno)
				require.Equal(t, 3, n, "all of one peer come to one socket")
				require.Equal(t, own, in.Messages[0].Addr)
				busy[i] = true
				got += n
			}
			require.Equal(t, 3, got)
		}
		require.Len(t, busy, len(shared), "each gets some")
	}
}
