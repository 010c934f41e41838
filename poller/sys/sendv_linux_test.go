package sys_test

import (
	"bytes"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
)

// pair returns the ends of a connection that holds more than one transfer.
func pair(t *testing.T) (a, b int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	for _, fd := range fds {
		t.Cleanup(func() { require.Zero(t, sys.Host.Close(fd)) })
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 2*sys.MaxTransfer))
	}
	return fds[0], fds[1]
}

func drain(t *testing.T, fd int) []byte {
	var all []byte
	for buffer := make([]byte, 64<<10); ; {
		n, errno := sys.Host.Recv(fd, buffer)
		if errno == syscall.EAGAIN {
			return all
		}
		require.Zero(t, errno)
		all = append(all, buffer[:n]...)
	}
}

// faults.md L2: more buffers than sendmsg(2) takes, and more bytes than it may move, are cut and not EINVAL. What is
// written is the beginning.
func TestSendvIsCut(t *testing.T) {
	leak.Check(t)
	many := make([][]byte, 2000)
	for i := range many {
		if i%3 != 0 { // the others are empty and do not count
			many[i] = []byte{byte(i)}
		}
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 4<<20)
	huge := make([][]byte, 40) // of one piece of memory, 2.5 GiB
	for i := range huge {
		huge[i] = large
	}
	for name, test := range map[string]struct {
		bufs [][]byte
		most int
	}{"many": {many, sys.MaxVectors}, "huge": {huge, sys.MaxTransfer}} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			n, errno := sys.Host.Sendv(a, test.bufs)
			require.Zero(t, errno)
			require.Positive(t, n)
			require.LessOrEqual(t, n, test.most)
			got := drain(t, b)
			require.Len(t, got, n)
			for _, buf := range test.bufs {
				part := min(len(buf), len(got))
				require.True(t, bytes.Equal(buf[:part], got[:part]))
				if got = got[part:]; len(got) == 0 {
					break
				}
			}
		})
	}
}

func TestSendIsCut(t *testing.T) {
	leak.Check(t)
	a, b := pair(t)
	n, errno := sys.Host.Send(a, make([]byte, 64<<20))
	require.Zero(t, errno)
	require.Positive(t, n)
	require.LessOrEqual(t, n, sys.MaxTransfer)
	require.Len(t, drain(t, b), n)
}
