package loop

import (
	"net/netip"
	"os"
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// Outgoing gathers datagrams, which then go out in few system calls: several for different peers in one (sendmmsg(2)), and what follows each other
// for the same peer, of one size, as one message that the kernel cuts (UDP_SEGMENT, udp(7)), and so has but once through its stack. It
// belongs to one Socket, and to one caller at a time.
type Outgoing struct {
	socket  *Socket
	batch   *sys.SendBatch
	room    []byte // what is gathered, one behind the other
	used    int
	bursts  []burst // by message of batch
	next    int     // the first that is not sent
	longest int     // of the datagrams that the kernel may be asked to cut from a message; 0: it can not
	failed  func(to netip.AddrPort, datagrams int, err error)
}

// burst is one message: a datagram, or several for one peer.
type burst struct {
	to        netip.AddrPort
	from, end int // in room
	segment   int // the size of each but the last
	count     int
	open      bool // the last is of that size too, so that another may follow
	apart     bool // they are to be sent one by one
}

const (
	// outgoingMessages is how many messages one call sends at most, and outgoingRoom how many bytes are gathered; docs/adr/0010 has the figures.
	outgoingMessages = 64
	outgoingRoom     = 256 << 10
)

// NewOutgoing returns an empty one for s. failed is called by Add and Flush for datagrams that the kernel does not take.
func NewOutgoing(s *Socket, failed func(to netip.AddrPort, datagrams int, err error)) *Outgoing {
	o := &Outgoing{socket: s, batch: sys.NewSendBatch(outgoingMessages), room: make([]byte, outgoingRoom), failed: failed}
	if s.loop.engine.kernel.CanSegment(int(s.fd)) {
		o.longest = sys.MaxDatagram
	}
	return o
}

// Empty reports whether nothing waits to be sent.
func (o *Outgoing) Empty() bool { return o.next == len(o.bursts) }

// Add takes a copy of p, a datagram for a valid address. It reports false if there is no room: then Flush must come first.
func (o *Outgoing) Add(p []byte, to netip.AddrPort) bool {
	if len(p) > len(o.room)-o.used {
		return false
	}
	if last := len(o.bursts) - 1; last >= o.next && o.bursts[last].takes(len(p), to, o.longest) {
		b := &o.bursts[last]
		b.count++
		b.open = len(p) == b.segment
		b.end += copy(o.room[o.used:], p)
		o.used = b.end
		o.batch.SetData(last, o.room[b.from:b.end], b.segment)
		return true
	}
	if o.batch.Full() {
		return false
	}
	from := o.used
	o.used += copy(o.room[from:], p)
	o.bursts = append(o.bursts, burst{to: to, from: from, end: o.used, segment: len(p), count: 1, open: len(p) > 0})
	o.batch.Add(sys.Message{Addr: to, Data: o.room[from:o.used]}, o.socket.isInet6())
	return true
}

// takes reports whether a datagram may join the others.
func (b *burst) takes(size int, to netip.AddrPort, longest int) bool {
	return b.open && size > 0 && size <= b.segment && b.segment <= longest && b.count < sys.MaxSegments &&
		b.end-b.from+size <= sys.MaxDatagram && b.to == to
}

// Flush sends what is gathered, as far as there is room. It fails with [ErrNotReady] if that is not all: the caller goes on when the write side is
// ready. The caller must have the turn of the write side.
func (o *Outgoing) Flush() error {
	for o.next < len(o.bursts) {
		var err error
		if o.bursts[o.next].apart {
			err = o.sendApart(&o.bursts[o.next])
		} else {
			err = o.sendBatch()
		}
		if err != nil {
			return err
		}
	}
	o.bursts, o.next, o.used = o.bursts[:0], 0, 0
	o.batch.Reset()
	return nil
}

// sendBatch makes one call for as many messages as go, and sees to the first if there is something with that.
func (o *Outgoing) sendBatch() error {
	s := o.socket
	n, err := s.transfer(WriteSide, "sendmmsg", func() (int, syscall.Errno) {
		return s.loop.engine.kernel.SendBatch(int(s.fd), o.batch, o.next)
	})
	if err == nil {
		o.next += n
		return nil
	}
	if err == ErrNotReady {
		return err
	}
	b := &o.bursts[o.next]
	if b.count > 1 {
		// A device without checksums cannot cut (EIO), and none cuts datagrams that are longer than it carries (EINVAL). What else there is shows again.
		switch errnoIn(err) {
		case syscall.EIO:
			o.longest = 0
		case syscall.EINVAL, syscall.EMSGSIZE:
			o.longest = min(o.longest, b.segment-1)
		}
		b.apart = true
		return nil
	}
	o.next++
	// The kernel may tell of an earlier datagram that has met with nobody (ICMP, RFC 1122, 4.1.3.3), and has not looked at this one.
	if errnoIn(err) == syscall.ECONNREFUSED {
		if again := s.SendTo(o.room[b.from:b.end], b.to); again != ErrNotReady {
			err = again
		}
	}
	if err != nil {
		o.failed(b.to, 1, err)
	}
	return nil
}

// sendApart sends the datagrams of a burst one by one.
func (o *Outgoing) sendApart(b *burst) error {
	for b.from < b.end {
		end := min(b.from+b.segment, b.end)
		switch err := o.socket.SendTo(o.room[b.from:end], b.to); err {
		case nil:
		case ErrNotReady:
			return err
		default:
			o.failed(b.to, 1, err)
		}
		b.from = end
	}
	o.next++
	return nil
}

// Drop forgets what is gathered, and reports how many datagrams that were.
func (o *Outgoing) Drop() (datagrams int) {
	for _, b := range o.bursts[o.next:] {
		left := b.count
		if b.apart {
			left = (b.end - b.from + b.segment - 1) / b.segment
		}
		datagrams += left
	}
	o.bursts, o.next, o.used = o.bursts[:0], 0, 0
	o.batch.Reset()
	return datagrams
}

func errnoIn(err error) syscall.Errno {
	if call, ok := err.(*os.SyscallError); ok {
		if errno, ok := call.Err.(syscall.Errno); ok {
			return errno
		}
	}
	return 0
}
