package coserver_test

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/coserver"
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
		events, unread := e.look(t)
		e.broken = events&(unix.POLLHUP|unix.POLLERR) != 0 && o.closed
		switch {
		case e.broken:
			return
		case unwanted:
		case (o.closed || o.ended) && events&unix.POLLRDHUP == 0:
		case e.deaf || unread == o.sent-e.received:
			return
		}
		if time.Since(begin) > patience {
			require.FailNow(t, "what was sent does not arrive", "%v: %d unread of %d, events %#x\n%s", e.who, unread,
				o.sent-e.received, events, strings.Join(trace, "\n"))
		}
	}
}

// look tells what of poll(2)'s conditions holds for this end, and how many bytes have come that nobody has read: by the kernel's own account,
// or, over package net, by that of what stands between.
func (e *end) look(t *testing.T) (events int16, bytes int) {
	t.Helper()
	if c, ok := e.conn.(*coserver.Conn); ok {
		if received, ended, failed, ok := coserver.Kept(c); ok {
			if ended {
				events |= unix.POLLRDHUP
			}
			if failed {
				events |= unix.POLLERR
			}
			return events, received - e.received
		}
	}
	return readiness(t, e.fd), unread(t, e.fd)
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

// descriptor is only to look at.
func descriptor(t *testing.T, c net.Conn) (fd int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(number uintptr) { fd = int(number) }))
	return fd
}

// overflows is how often this machine had no room to remember a connection that had been closed (TIME-WAIT, RFC 9293 section 3.6.1). What still
// arrives for such a one is answered by a reset, as if it had never been: that is no trace to compare.
func overflows(t *testing.T) uint64 {
	t.Helper()
	data, err := os.ReadFile("/proc/net/netstat") // pairs of lines: names, and numbers in the same order
	require.NoError(t, err)
	lines := strings.Split(string(data), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		if place := slices.Index(strings.Fields(lines[i]), "TCPTimeWaitOverflow"); place >= 0 {
			n, err := strconv.ParseUint(strings.Fields(lines[i+1])[place], 10, 64)
			require.NoError(t, err)
			return n
		}
	}
	require.FailNow(t, "the kernel does not count overflows of TIME-WAIT")
	return 0
}
