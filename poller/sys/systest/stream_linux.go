package systest

import (
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// endpoint is one end of a connection, as tcp(7) has it. Its methods are called with the kernel's lock held.
type endpoint struct {
	kernel        *Kernel
	file          *file // nil: a Peer's, or not accepted yet
	name          string
	other         *endpoint
	local, remote netip.AddrPort // zero for the unix domain

	in     []byte // arrived, unread
	window int    // how much in may hold
	out    []byte // to be sent, or on its way
	buffer int    // how much out may hold

	received, sent uint64 // bytes, since it began

	connecting net.Addr // what this end tries to connect to, or nil

	sentEnd   bool // this end will send no more
	arrived   bool // and the other has been told
	gotEnd    bool // the other end will send no more
	shutRead  bool // this end will read no more
	dead      bool // reset, by either end
	released  bool // nobody has a descriptor of it
	resets    bool // its release is to be a reset (SO_LINGER)
	urgent    bool // reads stop at a mark
	fullWrite bool // somebody waits for room (SOCK_NOSPACE)
	err       syscall.Errno
}

// connectEnds makes a connection.
func (k *Kernel) connectEnds(name string) (server, client *endpoint) {
	server = &endpoint{kernel: k, name: name, window: k.options.Window, buffer: k.options.SendBuffer}
	client = &endpoint{kernel: k, name: name + ", client", window: k.options.Window, buffer: k.options.SendBuffer}
	server.other, client.other = client, server
	k.links = append(k.links, server, client)
	return server, client
}

// conditions is tcp_poll of Linux.
func (e *endpoint) conditions() uint32 {
	var events uint32
	if e.connecting != nil {
		return 0
	}
	noMoreIn, noMoreOut := e.gotEnd || e.shutRead || e.dead, e.sentEnd || e.dead
	if noMoreIn && noMoreOut {
		events |= unix.EPOLLHUP
	}
	if noMoreIn {
		events |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if len(e.in) > 0 {
		events |= unix.EPOLLIN
	}
	if e.roomy() || noMoreOut {
		events |= unix.EPOLLOUT
	} else {
		e.fullWrite = true
	}
	if e.err != 0 {
		events |= unix.EPOLLERR
	}
	if e.urgent {
		events |= unix.EPOLLPRI
	}
	return events
}

// roomy reports whether there is enough room to say so: a third (sk_stream_is_writeable of Linux).
func (e *endpoint) roomy() bool { return e.buffer-len(e.out) >= len(e.out)/2 && len(e.out) < e.buffer }

// changed tells those who watch e. 0 is any change.
func (e *endpoint) changed(events uint32) {
	if e.file != nil {
		e.file.changed(events)
	}
}

// read is what recv(2) does.
func (e *endpoint) read(p []byte) (int, syscall.Errno) {
	if len(e.in) > 0 {
		limit := len(p)
		if e.file != nil && (e.urgent || !e.remote.IsValid()) && e.kernel.chance(e.file, e.kernel.faults.Short) {
			limit = 1 + e.kernel.roll(e.file, max(1, limit))
		}
		n := copy(p[:min(limit, len(p))], e.in)
		e.in = e.in[n:]
		e.other.settle()
		return n, 0
	}
	if e.err != 0 {
		return 0, e.takeError()
	}
	if e.gotEnd || e.shutRead || e.dead {
		return 0, 0
	}
	return 0, syscall.EAGAIN
}

func (e *endpoint) takeError() syscall.Errno {
	errno := e.err
	e.err = 0
	return errno
}

// write is what send(2) does with MSG_NOSIGNAL.
func (e *endpoint) write(p []byte) (int, syscall.Errno) {
	if e.err != 0 {
		return 0, e.takeError()
	}
	if e.connecting != nil {
		return 0, syscall.EAGAIN
	}
	if e.sentEnd || e.dead {
		return 0, syscall.EPIPE
	}
	n := min(len(p), e.buffer-len(e.out))
	if n == 0 && len(p) > 0 {
		e.fullWrite = true
		return 0, syscall.EAGAIN
	}
	if e.file != nil && n > 1 && e.kernel.chance(e.file, e.kernel.faults.Short) {
		n = 1 + e.kernel.roll(e.file, n-1)
	} else if n < len(p) {
		e.fullWrite = true
	}
	e.out = append(e.out, p[:n]...)
	e.sent += uint64(n)
	e.settle()
	return n, 0
}

// settle delivers what is on its way, unless that takes its time.
func (e *endpoint) settle() {
	if !e.kernel.options.Delayed {
		e.deliver(len(e.out))
	}
}

// deliver moves up to limit bytes to the other end, as far as its window goes, and then the end of the stream. It reports
// whether anything has moved.
func (e *endpoint) deliver(limit int) bool {
	to := e.other
	if e.dead {
		return false
	}
	if e.connecting != nil {
		return e.connect()
	}
	if to.released && len(e.out) > 0 {
		// Nobody will read it: the answer is a reset, and what was on its way back is lost (RFC 1122, 4.2.2.13).
		to.abort()
		return true
	}
	n := max(0, min(limit, len(e.out), to.window-len(to.in)))
	if n > 0 {
		to.in = append(to.in, e.out[:n]...)
		to.received += uint64(n)
		e.out = e.out[n:]
		to.changed(unix.EPOLLIN)
		if e.fullWrite && e.roomy() {
			e.fullWrite = false
			e.changed(unix.EPOLLOUT)
		}
	}
	end := len(e.out) == 0 && e.sentEnd && !e.arrived
	if end {
		e.arrived = true
		to.gotEnd = true
		to.changed(0)
		e.kernel.prune()
	}
	return n > 0 || end
}

// shutdown is shutdown(2).
func (e *endpoint) shutdown(how int) syscall.Errno {
	if e.dead {
		return syscall.ENOTCONN
	}
	if how == syscall.SHUT_RD || how == syscall.SHUT_RDWR {
		e.shutRead = true
	}
	if how == syscall.SHUT_WR || how == syscall.SHUT_RDWR {
		e.sentEnd = true
	}
	e.changed(0)
	e.settle()
	return 0
}

// release is the end of the last descriptor. What is still to be sent goes on its way, unless input is unread, or SO_LINGER says so:
// then the other end is told by a reset.
func (e *endpoint) release() {
	e.released = true
	e.file = nil
	if e.connecting != nil {
		e.dead, e.other.dead = true, true
		e.kernel.prune()
		return
	}
	if len(e.in) > 0 || e.resets {
		e.abort()
		return
	}
	e.sentEnd = true
	e.settle()
	e.kernel.prune()
}

// abort resets the connection from this end.
func (e *endpoint) abort() {
	if !e.dead {
		e.dead = true
		e.in, e.out = nil, nil
		e.other.getReset()
	}
	e.kernel.prune()
}

// getReset is the arrival of a reset. What has arrived before can still be read; so it is on Linux, for the side that is
// tested. A client loses it, which other systems do, and so shows what was destroyed.
func (e *endpoint) getReset() {
	if e.dead {
		return
	}
	e.dead = true
	e.out = nil
	if e.file == nil {
		e.in = nil
	}
	e.err = syscall.ECONNRESET
	if e.gotEnd {
		e.err = syscall.EPIPE
	}
	e.changed(0)
}

// prune forgets the connections to which nothing can happen any more.
func (k *Kernel) prune() {
	k.links = slices.DeleteFunc(k.links, func(e *endpoint) bool { return e.dead || e.arrived && e.gotEnd })
}
