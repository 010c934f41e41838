//go:build unix

package pollertest

import (
	"syscall"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var conditionTests = []test{
	{"HangUp", testHangUp},
	{"HangUpTCP", testHangUpTCP},
	{"HalfClose", testHalfClose},
	{"HalfCloseBeforeAdd", testHalfCloseBeforeAdd},
	{"BothHalvesClosed", testBothHalvesClosed},
	{"Reset", testReset},
	{"PipeReaderGone", testPipeReaderGone},
	{"PipeWriterGone", testPipeWriterGone},
	{"Urgent", testUrgent},
}

const (
	both = poller.Readable | poller.Writable

	shutWrite = unix.SHUT_WR
)

// reset closes a TCP connection with an RST (SO_LINGER, socket(7)).
func (d *descriptor) reset() {
	d.Helper()
	if d.kernel != nil {
		require.Zero(d, d.kernel.SetLinger(d.fd, 0))
	} else {
		require.NoError(d, unix.SetsockoptLinger(d.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	}
	d.close()
}

func testHangUp(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, both)
	f.settle()
	b.write("last words")
	b.close()
	f.await(1, poller.Readable|poller.ReadClosed)
	data, err := a.drain()
	require.Equal(f, "last words", data)
	require.NoError(f, err)
}

func testHangUpTCP(f *fixture) {
	a, b := tcpPair(f)
	f.add(a, 1, both)
	f.settle()
	b.close()
	f.await(1, poller.Readable|poller.ReadClosed)
	_, err := a.drain()
	require.NoError(f, err)
}

// testHalfClose: what came before the end can still be read, and the other direction lives.
func testHalfClose(f *fixture) {
	a, b := tcpPair(f)
	f.add(a, 1, both)
	f.add(b, 2, both)
	f.settle()
	b.write("request")
	b.shutdown(unix.SHUT_WR)
	said := f.await(1, poller.Readable|poller.ReadClosed)
	require.Zero(f, said&poller.Closed, "half-closed is not closed")

	data, err := a.drain()
	require.Equal(f, "request", data)
	require.NoError(f, err)
	a.write("reply")
	f.await(2, poller.Readable)
	data, err = b.drain()
	require.Equal(f, "reply", data)
	require.ErrorIs(f, err, syscall.EAGAIN)
}

func testHalfCloseBeforeAdd(f *fixture) {
	a, b := tcpPair(f)
	b.write("request")
	b.shutdown(unix.SHUT_WR)
	f.add(a, 1, both)
	f.await(1, both|poller.ReadClosed)
}

func testBothHalvesClosed(f *fixture) {
	a, b := tcpPair(f)
	f.add(a, 1, both)
	b.shutdown(unix.SHUT_WR)
	f.await(1, poller.ReadClosed)
	a.shutdown(unix.SHUT_WR)
	f.await(1, poller.Closed)
}

func testReset(f *fixture) {
	a, b := tcpPair(f)
	f.add(a, 1, both)
	f.settle()
	b.reset()
	f.await(1, both|poller.Closed)
	_, err := a.drain()
	require.ErrorIs(f, err, syscall.ECONNRESET)
}

func testPipeReaderGone(f *fixture) {
	reader, writer := pipe(f)
	f.add(writer, 1, poller.Writable)
	f.settle()
	reader.close()
	f.await(1, poller.Writable|poller.Closed)
}

func testPipeWriterGone(f *fixture) {
	reader, writer := pipe(f)
	f.add(reader, 1, poller.Readable)
	writer.write("last words")
	writer.close()
	f.await(1, poller.Readable|poller.ReadClosed|poller.Closed)
	data, err := reader.drain()
	require.Equal(f, "last words", data)
	require.NoError(f, err)
}

func testUrgent(f *fixture) {
	if f.backend.NoUrgent != "" {
		f.Skip("cannot report urgent data: ", f.backend.NoUrgent)
	}
	a, b := tcpPair(f)
	f.add(a, 1, both)
	b.write("data")
	require.Zero(f, f.await(1, poller.Readable)&poller.Urgent)
	_, err := unix.SendmsgN(b.fd, []byte("!"), nil, nil, unix.MSG_OOB)
	require.NoError(f, err)
	f.await(1, poller.Urgent)
}
