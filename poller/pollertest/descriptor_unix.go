//go:build unix

package pollertest

import (
	"os"
	"syscall"
	"testing"

	"github.com/strand-net/strand/poller/sys"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// descriptor is a non-blocking descriptor that the test's end closes, unless the test has.
type descriptor struct {
	testing.TB
	fd     int
	closed bool
	kernel sys.Kernel // whose descriptor it is, nil: the machine's
}

func own(t testing.TB, fd int) *descriptor {
	d := &descriptor{TB: t, fd: fd}
	t.Cleanup(d.close)
	unix.CloseOnExec(fd)
	require.NoError(t, unix.SetNonblock(fd, true))
	return d
}

// enter makes d one of the backend's kernel, if that is not the machine's. It must come before d is used.
func (d *descriptor) enter() *descriptor {
	f, ok := d.TB.(*fixture)
	if ok && f.backend.Kernel != nil {
		fd, err := f.backend.Adopt(d.fd)
		require.NoError(d, err)
		d.fd, d.kernel = fd, f.backend.Kernel
	}
	return d
}

func (d *descriptor) close() {
	if d.closed {
		return
	}
	d.closed = true
	if d.kernel != nil {
		require.Zero(d, d.kernel.Close(d.fd))
		return
	}
	require.NoError(d, unix.Close(d.fd))
}

// send is write(2).
func (d *descriptor) send(p []byte) (int, error) {
	if d.kernel != nil {
		return result(d.kernel.Send(d.fd, p))
	}
	return unix.Write(d.fd, p)
}

// receive is read(2).
func (d *descriptor) receive(p []byte) (int, error) {
	if d.kernel != nil {
		return result(d.kernel.Recv(d.fd, p))
	}
	return unix.Read(d.fd, p)
}

func result(n int, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return n, nil
}

// write writes all of data, which must fit.
func (d *descriptor) write(data string) {
	d.Helper()
	n, err := d.send([]byte(data))
	require.NoError(d, err)
	require.Equal(d, len(data), n)
}

// drain reads until EAGAIN, the end or an error, and returns which it was (nil: the end).
func (d *descriptor) drain() (data string, err error) {
	d.Helper()
	var buf [4096]byte
	for {
		n, err := d.receive(buf[:])
		if n <= 0 {
			return data, err
		}
		data += string(buf[:n])
	}
}

// fill writes until EAGAIN.
func (d *descriptor) fill() {
	d.Helper()
	buf := make([]byte, 4096)
	for {
		if _, err := d.send(buf); err != nil {
			require.ErrorIs(d, err, syscall.EAGAIN)
			return
		}
	}
}

func (d *descriptor) shutdown(how int) {
	d.Helper()
	if d.kernel != nil {
		require.Zero(d, d.kernel.Shutdown(d.fd, how))
		return
	}
	require.NoError(d, unix.Shutdown(d.fd, how))
}

// duplicate is dup(2).
func (d *descriptor) duplicate() *descriptor {
	d.Helper()
	fd, err := unix.Dup(d.fd)
	require.NoError(d, err)
	return own(d.TB, fd)
}

// socketPair is socketpair(2), a connection that lets only a few kilobytes be under way.
func socketPair(t testing.TB) (a, b *descriptor) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	a, b = own(t, fds[0]), own(t, fds[1])
	for _, d := range []*descriptor{a, b} {
		require.NoError(t, unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096))
	}
	return a.enter(), b.enter()
}

func pipe(t testing.TB) (reader, writer *descriptor) {
	t.Helper()
	var fds [2]int
	require.NoError(t, unix.Pipe(fds[:]))
	return own(t, fds[0]), own(t, fds[1])
}

// listener is a TCP socket that listens on the loopback, at a port of the kernel's choice.
func listener(t testing.TB) (*descriptor, unix.Sockaddr) {
	t.Helper()
	d := tcpSocket(t)
	require.NoError(t, unix.Bind(d.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(d.fd, 16))
	addr, err := unix.Getsockname(d.fd)
	require.NoError(t, err)
	return d, addr
}

func tcpSocket(t testing.TB) *descriptor {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	return own(t, fd)
}

// accept takes a connection that has been made, as a non-blocking connect over the loopback does at once.
func (d *descriptor) accept() *descriptor {
	d.Helper()
	fd, _, err := unix.Accept(d.fd)
	require.NoError(d, err)
	return own(d.TB, fd)
}

// connect begins a connection, and reports whether it is still under way.
func (d *descriptor) connect(addr unix.Sockaddr) bool {
	d.Helper()
	err := unix.Connect(d.fd, addr)
	if err != nil {
		require.ErrorIs(d, err, syscall.EINPROGRESS)
	}
	return err != nil
}

// tcpPair is a TCP connection over the loopback.
func tcpPair(t testing.TB) (a, b *descriptor) {
	t.Helper()
	l, addr := listener(t)
	a = tcpSocket(t)
	require.NoError(t, unix.SetNonblock(a.fd, false)) // so that connect returns when it is done
	require.NoError(t, unix.Connect(a.fd, addr))
	require.NoError(t, unix.SetNonblock(a.fd, true))
	b = l.accept()
	l.close()
	return a.enter(), b.enter()
}

// isSystemError checks the one form that errors have: a system call that is named, and its number.
func isSystemError(t testing.TB, err error, want syscall.Errno) {
	t.Helper()
	var call *os.SyscallError
	require.ErrorAs(t, err, &call)
	require.NotEmpty(t, call.Syscall)
	require.ErrorIs(t, err, want)
}
