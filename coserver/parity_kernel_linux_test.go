package coserver_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/pollertest/leak"
)

// settle waits until all that the other end has done has arrived at this one, by the kernel's own account.
func (e *end) settle(t *testing.T, trace []string) {
	t.Helper()
	o := e.other
	if e.closed || e.broken || o.flooded {
		return
	}
	if !o.closed {
		e.late = e.sent
	}
	// Input for nobody makes the kernel answer with a reset.
	unwanted := o.closed && e.late < e.sent
	for begin := time.Now(); ; time.Sleep(100 * time.Microsecond) { // the kernel is asked, for it tells nobody but the engine
		events := readiness(t, e.fd)
		e.broken = events&(unix.POLLHUP|unix.POLLERR) != 0 && o.closed
		switch {
		case e.broken:
			return
		case unwanted:
		case (o.closed || o.ended) && events&unix.POLLRDHUP == 0:
		case e.deaf || unread(t, e.fd) == o.sent-e.received:
			return
		}
		if time.Since(begin) > patience {
			require.FailNow(t, "what was sent does not arrive", "%v: %d unread of %d, events %#x\n%s", e.who, unread(t, e.fd),
				o.sent-e.received, events, strings.Join(trace, "\n"))
		}
	}
}

func readiness(t *testing.T, fd int) int16 {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	for {
		_, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		require.NoError(t, err)
		return fds[0].Revents
	}
}

func unread(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	require.NoError(t, err)
	return n
}

func descriptor(t *testing.T, c syscall.Conn) (fd int) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(number uintptr) { fd = int(number) }))
	return fd
}

// descriptorOf finds the other end of a connection in this process, one that was not there before: it talks to where the
// peer's end is, and the peer's end to where it is. Nothing is done with it but looking.
func descriptorOf(t *testing.T, before map[int]string, peerFD int) int {
	t.Helper()
	here, err := unix.Getsockname(peerFD)
	require.NoError(t, err)
	there, err := unix.Getpeername(peerFD)
	require.NoError(t, err)
	for fd, name := range leak.Descriptors() {
		if before[fd] == name {
			continue
		}
		local, err := unix.Getsockname(fd)
		if err != nil {
			continue
		}
		if remote, err := unix.Getpeername(fd); err == nil && same(local, there) && same(remote, here) {
			return fd
		}
	}
	require.FailNow(t, "no such descriptor")
	return -1
}

func same(a, b unix.Sockaddr) bool {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		b, ok := b.(*unix.SockaddrInet4)
		return ok && a.Port == b.Port && a.Addr == b.Addr
	case *unix.SockaddrInet6:
		b, ok := b.(*unix.SockaddrInet6)
		return ok && a.Port == b.Port && a.Addr == b.Addr
	case *unix.SockaddrUnix:
		b, ok := b.(*unix.SockaddrUnix)
		return ok && a.Name == b.Name
	}
	return false
}
