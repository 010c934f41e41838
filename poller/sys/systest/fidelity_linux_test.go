package systest_test

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
	"github.com/strand-net/strand/poller/sys/systest"
)

func TestMain(m *testing.M) { leak.Main(m) }

const patience = 20 * time.Second

// world is a kernel, and how a test uses it.
type world struct {
	*testing.T
	kernel  sys.Kernel
	epfd    int
	connect func() (fd int, p peer)
	await   func() // until the epoll instance is ready
}

type peer interface {
	Write([]byte) (int, error)
	Read([]byte) (int, error)
	CloseWrite() error
	Reset() error
}

// onBoth runs test on the machine's kernel and on the one in memory: it holds for both, or the latter is wrong.
func onBoth(t *testing.T, test func(*world)) {
	t.Run("host", func(t *testing.T) {
		leak.Check(t)
		w := newWorld(t, sys.Host)
		w.await = func() {
			fds := []unix.PollFd{{Fd: int32(w.epfd), Events: unix.POLLIN}}
			for {
				n, err := unix.Poll(fds, int(patience.Milliseconds()))
				if err == unix.EINTR {
					continue
				}
				require.NoError(t, err)
				require.Equal(t, 1, n, "no event")
				return
			}
		}
		test(w)
	})
	t.Run("memory", func(t *testing.T) {
		kernel := systest.New(systest.Options{})
		w := newWorld(t, kernel)
		w.await = func() {}
		test(w)
		t.Cleanup(func() { require.Empty(t, kernel.Violations()) })
	})
}

func newWorld(t *testing.T, kernel sys.Kernel) *world {
	w := &world{T: t, kernel: kernel}
	var errno syscall.Errno
	w.epfd, errno = kernel.EpollCreate()
	require.Zero(t, errno)
	t.Cleanup(func() { kernel.Close(w.epfd) })
	listening, addr, err := kernel.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { kernel.Close(listening) })
	w.connect = func() (int, peer) {
		var p peer
		if memory, ok := kernel.(*systest.Kernel); ok {
			client, err := memory.Client(addr)
			require.NoError(t, err)
			t.Cleanup(client.Close)
			p = memoryPeer{client}
		} else {
			client, err := net.DialTimeout("tcp", addr.String(), patience)
			require.NoError(t, err)
			t.Cleanup(func() { client.Close() })
			require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
			p = hostPeer{client.(*net.TCPConn)}
		}
		fd, remote, errno := kernel.Accept(listening)
		require.Zero(t, errno)
		require.True(t, remote.IsValid())
		return fd, p
	}
	return w
}

type memoryPeer struct{ *systest.Peer }

func (p memoryPeer) CloseWrite() error { p.Peer.CloseWrite(); return nil }
func (p memoryPeer) Reset() error      { p.Peer.Reset(); return nil }

type hostPeer struct{ *net.TCPConn }

func (p hostPeer) Reset() error {
	if err := p.SetLinger(0); err != nil {
		return err
	}
	return p.Close()
}

const interest = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLPRI | unix.EPOLLET

func (w *world) control(op, fd int, events uint32) syscall.Errno {
	return w.kernel.EpollCtl(w.epfd, op, fd, unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// expect waits for an event of fd that says all of bits, and fails if it says anything else.
func (w *world) expect(fd int, bits uint32) {
	w.Helper()
	events := make([]unix.EpollEvent, 8)
	said := uint32(0)
	for said != bits {
		w.await()
		n, errno := w.kernel.EpollWait(w.epfd, events)
		require.Zero(w, errno)
		require.Equal(w, 1, n, "want %#x, have %#x", bits, said)
		require.EqualValues(w, fd, events[0].Fd)
		// The arrival of data, of the end and of a reset may be one event or several.
		said = events[0].Events
		require.Zero(w, said&^bits, "%#x", said)
	}
	w.silent()
}

// silent fails if there is an event.
func (w *world) silent() {
	w.Helper()
	n, errno := w.kernel.EpollWait(w.epfd, make([]unix.EpollEvent, 8))
	require.Zero(w, errno)
	require.Zero(w, n)
}

func (w *world) write(p peer, data string) {
	w.Helper()
	n, err := p.Write([]byte(data))
	require.NoError(w, err)
	require.Equal(w, len(data), n)
}

func (w *world) receives(fd int, want string, wantErrno syscall.Errno) {
	w.Helper()
	buffer := make([]byte, 100)
	n, errno := w.kernel.Recv(fd, buffer)
	require.Equal(w, wantErrno, errno)
	require.Equal(w, want, string(buffer[:n]))
}

func (w *world) close(fd int) {
	w.Helper()
	require.Zero(w, w.control(unix.EPOLL_CTL_DEL, fd, 0))
	require.Zero(w, w.kernel.Close(fd))
}

func TestEdges(t *testing.T) {
	onBoth(t, func(w *world) {
		fd, p := w.connect()
		require.Equal(w, syscall.ENOENT, w.control(unix.EPOLL_CTL_MOD, fd, interest))
		require.Zero(w, w.control(unix.EPOLL_CTL_ADD, fd, interest))
		require.Equal(w, syscall.EEXIST, w.control(unix.EPOLL_CTL_ADD, fd, interest))
		w.expect(fd, unix.EPOLLOUT)
		w.receives(fd, "", syscall.EAGAIN)
		w.write(p, "one")
		w.expect(fd, unix.EPOLLIN|unix.EPOLLOUT)
		w.write(p, "two") // a new edge, although the first has not been read
		w.expect(fd, unix.EPOLLIN|unix.EPOLLOUT)
		w.receives(fd, "onetwo", 0)
		w.silent()
		require.Zero(w, w.control(unix.EPOLL_CTL_MOD, fd, interest)) // reports anew
		w.expect(fd, unix.EPOLLOUT)
		require.NoError(w, p.CloseWrite())
		w.expect(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP)
		w.receives(fd, "", 0)
		n, errno := w.kernel.Send(fd, []byte("late"))
		require.Zero(w, errno)
		require.Equal(w, 4, n)
		require.Zero(w, w.kernel.Shutdown(fd, syscall.SHUT_WR))
		w.expect(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLHUP)
		_, errno = w.kernel.Send(fd, []byte("later"))
		require.Equal(w, syscall.EPIPE, errno)
		answer := make([]byte, 100)
		n, err := p.Read(answer)
		require.NoError(w, err)
		require.Equal(w, "late", string(answer[:n]))
		_, err = p.Read(answer)
		require.Equal(w, io.EOF, err)
		w.close(fd)
		next, errno := w.kernel.Eventfd()
		require.Zero(w, errno)
		require.Equal(w, fd, next, "the lowest number that is free")
		require.Equal(w, syscall.ENOENT, w.control(unix.EPOLL_CTL_DEL, next, 0))
		require.Zero(w, w.kernel.Close(next))
	})
}

// What has come before a reset is read first, then the reset once, then the end.
func TestReset(t *testing.T) {
	onBoth(t, func(w *world) {
		fd, p := w.connect()
		w.write(p, "last")
		require.NoError(w, p.Reset())
		require.Zero(w, w.control(unix.EPOLL_CTL_ADD, fd, interest))
		w.expect(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR)
		w.receives(fd, "last", 0)
		w.receives(fd, "", syscall.ECONNRESET)
		w.receives(fd, "", 0)
		_, errno := w.kernel.Send(fd, []byte("x"))
		require.Equal(w, syscall.EPIPE, errno)
		require.Equal(w, syscall.ENOTCONN, w.kernel.Shutdown(fd, syscall.SHUT_WR))
		w.close(fd)
	})
}

// A close with unread input resets, and so does input that comes after a close, and a close that is to (SO_LINGER).
func TestCloseResets(t *testing.T) {
	onBoth(t, func(w *world) {
		for _, why := range []string{"unread", "late", "linger"} {
			fd, p := w.connect()
			require.Zero(w, w.control(unix.EPOLL_CTL_ADD, fd, interest))
			switch why {
			case "unread":
				w.write(p, "unread")
				w.expect(fd, unix.EPOLLIN|unix.EPOLLOUT)
			case "linger":
				require.Zero(w, w.kernel.SetLinger(fd, 0))
			}
			w.close(fd)
			one := make([]byte, 1)
			if why == "late" {
				_, err := p.Read(one)
				require.Equal(w, io.EOF, err)
				w.write(p, "late")
			}
			var err error
			for err == nil || err == io.EOF { // the answer takes its time, or does not
				_, err = p.Write(one)
			}
			require.True(w, isReset(err), err)
		}
	})
}

func isReset(err error) bool {
	for _, errno := range []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// With a linger of 0 seconds the close is a reset, and with a negative one it is not.
func TestLingerResets(t *testing.T) {
	onBoth(t, func(w *world) {
		for _, seconds := range []int{0, -1} {
			fd, p := w.connect()
			require.Zero(w, w.control(unix.EPOLL_CTL_ADD, fd, interest))
			require.Zero(w, w.kernel.SetLinger(fd, 0))
			require.Zero(w, w.kernel.SetLinger(fd, seconds))
			w.close(fd)
			_, err := p.Read(make([]byte, 1))
			if seconds == 0 {
				require.True(w, isReset(err), err)
			} else {
				require.Equal(w, io.EOF, err)
			}
		}
	})
}

// Room to write is told once there is a third of it, after a send that found none.
func TestRoomIsTold(t *testing.T) {
	onBoth(t, func(w *world) {
		fd, p := w.connect()
		require.Zero(w, w.control(unix.EPOLL_CTL_ADD, fd, interest))
		w.expect(fd, unix.EPOLLOUT)
		block := make([]byte, 64<<10)
		sent := 0
		for {
			n, errno := w.kernel.Send(fd, block)
			if errno == syscall.EAGAIN {
				break
			}
			require.Zero(w, errno)
			sent += n
		}
		w.silent()
		for got := 0; got < sent; {
			n, err := p.Read(block)
			if err != nil {
				require.Equal(w, systest.ErrWouldBlock, err)
			}
			got += n
		}
		w.expect(fd, unix.EPOLLOUT)
		w.close(fd)
	})
}

func TestEventCounter(t *testing.T) {
	onBoth(t, func(w *world) {
		fd, errno := w.kernel.Eventfd()
		require.Zero(w, errno)
		require.Zero(w, w.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLET))
		for range 3 { // each write is an edge, also when the counter was not 0
			w.silent()
			require.Zero(w, w.kernel.EventfdSignal(fd))
			w.expect(fd, unix.EPOLLIN)
		}
		w.close(fd)
	})
}

// What nobody may ask is answered as Linux does, and noted.
func TestViolations(t *testing.T) {
	k := systest.New(systest.Options{})
	require.Equal(t, syscall.EBADF, k.Close(3))
	_, errno := k.Recv(7, make([]byte, 1))
	require.Equal(t, syscall.EBADF, errno)
	epfd, errno := k.EpollCreate()
	require.Zero(t, errno)
	_, errno = k.Send(epfd, make([]byte, 1))
	require.Equal(t, syscall.ENOTSOCK, errno)
	fd, errno := k.Eventfd()
	require.Zero(t, errno)
	require.Zero(t, k.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, unix.EpollEvent{Events: unix.EPOLLIN}))
	require.Zero(t, k.Close(fd))
	require.Equal(t, []string{
		"close: descriptor 3 is not open",
		"recv: descriptor 7 is not open",
		"send: descriptor 3 is epoll instance",
		"close: descriptor 4 (event counter) is still registered",
	}, k.Violations())
}

// What has moved is counted in bytes, the end of the stream not among them.
func TestTCPInfo(t *testing.T) {
	onBoth(t, func(w *world) {
		fd, p := w.connect()
		defer w.close(fd)
		count := func() (received, sent uint64) {
			info, errno := w.kernel.TCPInfo(fd)
			require.Zero(t, errno)
			return info.Received, info.Sent
		}
		received, sent := count()
		require.Zero(t, received)
		require.Zero(t, sent)
		w.write(p, "12345")
		n, errno := w.kernel.Send(fd, []byte("abc"))
		require.Zero(t, errno)
		require.Equal(t, 3, n)
		_, err := io.ReadFull(p, make([]byte, 3))
		require.NoError(t, err)
		require.Eventually(t, func() bool { received, sent = count(); return received == 5 && sent == 3 }, patience, time.Millisecond)
		require.NoError(t, p.CloseWrite())
		require.Zero(t, w.control(unix.EPOLL_CTL_ADD, fd, interest))
		w.expect(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP)
		received, sent = count()
		require.EqualValues(t, 5, received)
		require.EqualValues(t, 3, sent)
	})
}

// Looking tells of the end and of a failure, and takes neither away.
func TestEnded(t *testing.T) {
	onBoth(t, func(w *world) {
		fd, p := w.connect()
		require.Zero(w, w.control(unix.EPOLL_CTL_ADD, fd, interest))
		expect := func(wantEnded, wantFailed bool) {
			w.Helper()
			require.Eventually(w, func() bool {
				ended, failed, errno := w.kernel.Ended(fd)
				require.Zero(w, errno)
				return ended == wantEnded && failed == wantFailed
			}, patience, time.Millisecond)
		}
		expect(false, false)
		w.write(p, "unread")
		expect(false, false)
		require.NoError(w, p.CloseWrite())
		expect(true, false)
		expect(true, false)
		w.close(fd)

		fd, p = w.connect()
		require.Zero(w, w.control(unix.EPOLL_CTL_ADD, fd, interest))
		require.NoError(w, p.Reset())
		expect(true, true)
		expect(true, true)
		w.receives(fd, "", syscall.ECONNRESET)
		w.close(fd)
	})
}
