package sys

import (
	"net/netip"
	"syscall"
)

// recvEach is RecvBatch where each datagram takes a call of its own.
func recvEach(recv func(p []byte) (n int, from netip.AddrPort, errno syscall.Errno), b *RecvBatch) (int, syscall.Errno) {
	tries := 2 * len(b.Messages)
	for i := 0; i < len(b.Messages); {
		n, from, errno := recv(b.slot(i))
		switch {
		case errno == 0:
			b.Messages[i] = Message{Addr: from, Data: b.slot(i)[:n]}
			i++
		case i == 0 || errno == syscall.EAGAIN:
			if i > 0 {
				errno = 0
			}
			return i, errno
		case tries == 0:
			// Fewer than there is room for would say that there are no more. What has come so far is lost as any datagram may be.
			return 0, errno
		default: // of a datagram that was sent before, or EINTR
			tries--
		}
	}
	return len(b.Messages), 0
}

// sendEach is SendBatch where each datagram takes a call of its own.
func sendEach(send func(p []byte, to netip.AddrPort) syscall.Errno, b *SendBatch, first int) (int, syscall.Errno) {
	for i := first; i < b.count; i++ {
		m := b.message(i)
		if errno := send(m.Data, m.Addr); errno != 0 {
			if i > first {
				errno = 0
			}
			return i - first, errno
		}
	}
	return b.count - first, 0
}
