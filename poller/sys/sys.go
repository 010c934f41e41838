// Package sys is the one seam between strand and the kernel: every system call of packages poller and loop goes
// through [Kernel]. Behind it stands the machine's kernel ([Host]) or, in tests, a fake one.
//
// The calls are raw: they return syscall.Errno as the kernel gave it, 0 for success, and never retry. Those
// that cannot block are made without telling the Go scheduler, which saves it the hand-off of the processor; so
// all descriptors here are non-blocking, and the transfers are capped at [MaxTransfer].
package sys

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// MaxTransfer is the most bytes that one Recv, Send or Sendv moves. The calling thread cannot be preempted while
// the kernel copies, and the garbage collector waits for it; a megabyte is some hundred microseconds. Less costs throughput
// where messages are that large: they leave the processor's cache between the calls (docs/adr/0007).
const MaxTransfer = 1 << 20

// MaxVectors is the most buffers that one Sendv takes; what is over is not written by that call. It is less than the
// kernel's own 1024 (IOV_MAX), so that the vectors fit on the stack: past some dozens the copy costs more than the call.
const MaxVectors = 64

// Kernel is what strand asks of an operating system. All methods are safe from any goroutine.
type Kernel interface {
	// Listen binds and listens as package net does, with the errors of package net, and returns a non-blocking,
	// close-on-exec descriptor with TCP_NODELAY and keep-alive set for the connections that it will accept. The file of a
	// unix socket that a process of the same user has left behind, and that nobody listens on, is replaced; whatever else
	// is at its path stays, and the error says what it is.
	Listen(network, address string) (fd int, addr net.Addr, err error)

	// ListenShared is Listen for an address of TCP that several sockets may share, each of which gets a part of the connections
	// (SO_REUSEPORT, socket(7)): this one and others that were made so.
	ListenShared(network, address string) (fd int, addr net.Addr, err error)

	// Accept takes one connection from a listening descriptor: non-blocking and close-on-exec (accept4(2)). The
	// peer's address is the zero AddrPort if it has none that is an IP address.
	Accept(fd int) (conn int, peer netip.AddrPort, errno syscall.Errno)

	// LocalAddr is the address that the socket is bound to (getsockname(2)), the zero AddrPort if it is none of IP.
	LocalAddr(fd int) (netip.AddrPort, syscall.Errno)

	// Recv and Send transfer up to MaxTransfer bytes without blocking (recv(2), send(2) with MSG_NOSIGNAL).
	Recv(fd int, p []byte) (int, syscall.Errno)
	Send(fd int, p []byte) (int, syscall.Errno)

	// Sendv transfers the buffers in order, as if they were one (sendmsg(2) with MSG_NOSIGNAL): at most
	// MaxVectors of them and MaxTransfer bytes.
	Sendv(fd int, bufs [][]byte) (int, syscall.Errno)

	// Shutdown ends one or both directions (shutdown(2), SHUT_RD, SHUT_WR, SHUT_RDWR).
	Shutdown(fd, how int) syscall.Errno

	// Adopt returns a non-blocking, close-on-exec duplicate of the descriptor of a socket or listener of package net. The two
	// share everything but the number (dup(2)). A listener of TCP gets the options that Listen sets.
	Adopt(conn syscall.Conn) (int, error)

	// Close closes fd (close(2)). It must not be called again after EINTR: the number may be another's by then.
	Close(fd int) syscall.Errno

	// Nanotime is a monotonic clock in nanoseconds, and NanotimeAt what it shows at t.
	Nanotime() int64
	NanotimeAt(t time.Time) int64

	connecting
	options
	transfers
	datagrams
	threads

	// The platform's readiness calls: epoll on Linux.
	readiness
}

// connecting is the part of [Kernel] that begins connections.
type connecting interface {
	// Connect makes a non-blocking, close-on-exec stream socket, binds it to local unless that is nil, and begins to
	// connect it (connect(2)): to a *net.TCPAddr, with the options that Listen's connections have, or a *net.UnixAddr. The
	// attempt is over when the descriptor becomes writable. Errors are *os.SyscallError.
	Connect(local, remote net.Addr) (fd int, err error)

	// Connected is what has become of the attempt: 0 once it has succeeded, EINPROGRESS while it goes on, and otherwise why
	// it has failed (SO_ERROR, see connect(2)), which it tells only once.
	Connected(fd int) syscall.Errno
}

// options is the part of [Kernel] that sets socket options (setsockopt(2)), and asks what there is to know of a connection.
type options interface {
	// SetNoDelay sets TCP_NODELAY.
	SetNoDelay(fd int, on bool) syscall.Errno
	// SetKeepAlive sets SO_KEEPALIVE and, where config says so, idle time, interval and count as package net does.
	SetKeepAlive(fd int, config net.KeepAliveConfig) syscall.Errno
	// SetLinger sets SO_LINGER: off if seconds is negative.
	SetLinger(fd, seconds int) syscall.Errno
	// SetReadBuffer and SetWriteBuffer set SO_RCVBUF and SO_SNDBUF.
	SetReadBuffer(fd, bytes int) syscall.Errno
	SetWriteBuffer(fd, bytes int) syscall.Errno
	// TCPInfo is what the kernel knows of a TCP connection. EOPNOTSUPP says that it is none of TCP.
	TCPInfo(fd int) (TCPInfo, syscall.Errno)
	// Ended tells, without reading, whether the other end has sent its last byte (or this one reads no more), and whether the
	// connection has failed (poll(2), POLLRDHUP and POLLERR). It leaves the error where it is.
	Ended(fd int) (ended, failed bool, errno syscall.Errno)
}

// TCPInfo is what the kernel knows of a TCP connection (TCP_INFO, tcp(7)). What one does not count is 0.
type TCPInfo struct {
	Received uint64 // bytes that have arrived in order, read or not
	Sent     uint64 // bytes that were written, whether they have left or not: each once
	Unacked  uint64 // of these, how many the peer has not acknowledged

	Retransmitted uint64        // bytes that were sent again
	RTT, RTTVar   time.Duration // of the path, smoothed (RFC 6298)
}

// transfers is the part of [Kernel] that moves bytes between descriptors. ENOSYS says that the platform has no such call.
type transfers interface {
	// Sendfile sends up to n bytes of file to a socket (sendfile(2)): from its offset on, and moves that, or, if from is not nil,
	// from there on, and moves from alone. Reading the file may block.
	Sendfile(socket, file int, from *int64, n int) (int, syscall.Errno)
	// Pipe makes a non-blocking, close-on-exec pipe that has room for MaxTransfer bytes if it may (pipe2(2)).
	Pipe() (r, w int, errno syscall.Errno)
	// Splice moves up to n bytes from one descriptor to another, one of them a pipe, without blocking (splice(2)).
	Splice(from, to, n int) (int, syscall.Errno)
}

// threads is the part of [Kernel] that tells what has become of a thread of this process. A platform that cannot tell has no
// thread but 0, of which nothing is known.
type threads interface {
	// Thread is the calling thread (gettid(2)).
	Thread() int
	// ThreadTime is how much processor time a thread has used, in nanoseconds; false if that is not known.
	ThreadTime(thread int) (int64, bool)
	// Runnable reports whether a thread runs, or would if it got a processor; false also if that is not known.
	Runnable(thread int) bool
}
