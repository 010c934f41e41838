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
// the kernel copies, and the garbage collector waits for it; a quarter of a megabyte is some tens of microseconds.
const MaxTransfer = 256 << 10

// MaxVectors is the most buffers that one Sendv takes; what is over is not written by that call. It is less than the
// kernel's own 1024 (IOV_MAX), so that the vectors fit on the stack: past some dozens the copy costs more than the call.
const MaxVectors = 64

// Kernel is what strand asks of an operating system. All methods are safe from any goroutine.
type Kernel interface {
	// Listen binds and listens as package net does, with the errors of package net, and returns a non-blocking,
	// close-on-exec descriptor with TCP_NODELAY and keep-alive set for the connections that it will accept.
	Listen(network, address string) (fd int, addr net.Addr, err error)

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

	// Close closes fd (close(2)). It must not be called again after EINTR: the number may be another's by then.
	Close(fd int) syscall.Errno

	// Nanotime is a monotonic clock in nanoseconds, and NanotimeAt what it shows at t.
	Nanotime() int64
	NanotimeAt(t time.Time) int64

	// The platform's readiness calls: epoll on Linux.
	readiness
}
