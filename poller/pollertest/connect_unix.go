//go:build unix

package pollertest

import (
	"syscall"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var connectTests = []test{
	{"Listener", testListener},
	{"Connected", testConnected},
	{"Refused", testRefused},
}

func testListener(f *fixture) {
	l, addr := listener(f)
	f.add(l, 1, poller.Readable)
	require.Empty(f, f.wait(0))
	for range 5 {
		tcpSocket(f).connect(addr)
		f.await(1, poller.Readable)
		l.accept()
	}
	// A burst is one event or more; all of it is there to accept.
	for range 5 {
		tcpSocket(f).connect(addr)
	}
	for accepted := 0; accepted < 5; {
		f.await(1, poller.Readable)
		for {
			fd, _, err := unix.Accept(l.fd)
			if err != nil {
				require.ErrorIs(f, err, syscall.EAGAIN)
				break
			}
			own(f, fd)
			accepted++
		}
	}
}

func testConnected(f *fixture) {
	l, addr := listener(f)
	a := tcpSocket(f)
	a.connect(addr)
	f.add(a, 1, both)
	require.Zero(f, f.await(1, poller.Writable)&poller.Closed)
	f.add(l, 2, poller.Readable)
	f.await(2, poller.Readable)
	l.accept().write("hello")
	f.await(1, poller.Readable)
}

// testRefused: over the loopback the answer can be there before connect(2) returns. The descriptor must say so then too.
func testRefused(f *fixture) {
	l, addr := listener(f)
	l.close()
	a := tcpSocket(f)
	if err := unix.Connect(a.fd, addr); err != syscall.EINPROGRESS {
		require.ErrorIs(f, err, syscall.ECONNREFUSED)
	}
	f.add(a, 1, both)
	f.await(1, poller.Writable|poller.Closed)
}
