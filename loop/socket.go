package loop

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// ErrNotReady is returned by a Socket's calls when there is nothing to read or no room to write: wait for the
// direction and call again.
var ErrNotReady = errors.New("loop: socket not ready")

// Owner is who a Socket belongs to. Its methods are called on the goroutine of the Socket's loop.
type Owner interface {
	// ReadReady and WriteReady end a wait that [Socket.Arm] began.
	ReadReady()
	WriteReady()

	// Hangup says that the connection is gone in both directions: the peer has reset it, or both ends have sent their last byte.
	// It may be called more than once. Reads and writes say how it is.
	Hangup()

	// Kill says that the engine is closing: the Socket must be closed, sooner or later.
	Kill()
}

// Side is one direction of a Socket.
type Side uint8

const (
	ReadSide Side = iota
	WriteSide
)

// Socket is a connected, non-blocking descriptor that one loop watches. It is made to be embedded in its Owner: an idle
// one costs its own size and nothing else.
//
// A Socket may be used from any goroutine. Each direction has a turn ([Socket.Acquire]) that serialises its users; the
// descriptor is closed when Close has been called and nobody has a turn, so no call can hit another's descriptor.
type Socket struct {
	loop  *Loop
	owner Owner
	fd    int32
	turns turns
	gates [2]gate
	marks atomic.Uint32

	peerPort uint16
	token    poller.Token
	peerAddr netip.Addr
	id       uint64
}

// marks are what a socket has shown once and for all.
const (
	// markPartial: a read that returns less than asked does not mean that the socket is drained. True of unix sockets,
	// where a read stops at passed descriptors (unix(7)), and after urgent data, where it stops at the mark (tcp(7)).
	markPartial uint32 = 1 << iota
	// markReadClosed: the peer will send no more. The edge for its end of file may have come along with the last data.
	markReadClosed
	// markEnd: a read has returned the end of the stream, or failed. There is no unread input, and none will come.
	markEnd
	// markInet6: it is a socket of datagrams, and its addresses are those of IPv6.
	markInet6
)

// Attach makes s the socket of an accepted connection, watched by l on behalf of owner. If the kernel refuses to
// watch it, the connection is closed. Loop goroutine only.
func (l *Loop) Attach(s *Socket, accepted Accepted, owner Owner) error {
	s.loop, s.owner, s.fd, s.id = l, owner, int32(accepted.fd), l.nextID()
	s.peerAddr, s.peerPort = accepted.peer.Addr(), accepted.peer.Port()
	if !s.peerAddr.IsValid() {
		s.marks.Store(markPartial)
	}
	s.token = l.slots.take(s)
	if err := l.poller.Add(int(s.fd), s.token, poller.Readable|poller.Writable); err != nil {
		l.slots.release(s.token)
		accepted.discard(l)
		return err
	}
	return nil
}

// Loop returns the loop that watches the socket.
func (s *Socket) Loop() *Loop { return s.loop }

// Peer returns the address of the other end, the zero AddrPort if it has none of IP.
func (s *Socket) Peer() netip.AddrPort { return netip.AddrPortFrom(s.peerAddr, s.peerPort) }

func (s *Socket) dispatch(r poller.Readiness) {
	var marks uint32
	if r&(poller.ReadClosed|poller.Closed) != 0 {
		marks |= markReadClosed
	}
	if r&poller.Urgent != 0 {
		marks |= markPartial
	}
	if marks != 0 {
		s.marks.Or(marks)
	}
	if r&poller.Closed != 0 {
		s.owner.Hangup()
	}
	// Whoever is told may keep this goroutine. What the event says beyond that must not depend on its return.
	if r&poller.Writable != 0 && s.gates[WriteSide].open() {
		s.loop.half = s
	}
	if r&poller.Readable != 0 && s.gates[ReadSide].open() {
		s.owner.ReadReady()
	}
}

// dispatchHalf tells a socket of the other half of its event.
func (l *Loop) dispatchHalf() {
	if s := l.half; s != nil {
		l.half = nil
		s.owner.WriteReady()
	}
}

func (s *Socket) kill() { s.owner.Kill() }

// Take reports whether side was remembered as ready, and forgets it: the caller now uses what there is.
func (s *Socket) Take(side Side) bool { return s.gates[side].take() }

// Arm announces that somebody waits for side: the owner's ReadReady or WriteReady will be called once, unless Disarm
// comes first. It reports false if side is ready; then nobody will be called.
func (s *Socket) Arm(side Side) bool { return s.gates[side].arm() }

// Disarm ends a wait that Arm began. It reports whether there was one; then waking whoever waits is up to the caller.
func (s *Socket) Disarm(side Side) bool { return s.gates[side].claim() }

// Poke makes side ready as an event would, and wakes who waits for it: for an owner whose wait something else than the kernel
// may end. Loop goroutine only.
func (s *Socket) Poke(side Side) {
	if s.gates[side].open() {
		if side == ReadSide {
			s.owner.ReadReady()
		} else {
			s.owner.WriteReady()
		}
	}
}

// Waited reports whether somebody waits for side. Safe from any goroutine.
func (s *Socket) Waited(side Side) bool { return s.gates[side].state.Load() == gateWaited }

// Recv reads what has arrived into p, which must not be empty, without waiting. It fails with [ErrNotReady], io.EOF or an
// *os.SyscallError. If there may be more to read, the read side is ready again when it returns; otherwise it becomes
// so with the next arrival. The caller must have the turn of the read side. The error names the call read, and that of Send
// write, as package net does, whatever the kernel's own name for it is.
func (s *Socket) Recv(p []byte) (int, error) {
	for {
		n, errno := s.loop.engine.kernel.Recv(int(s.fd), p)
		switch {
		case errno == 0 && n > 0:
			// What came is less than what the kernel was asked for, so there is no more: the next arrival is a new edge,
			// and asking again would only bring EAGAIN.
			if n == min(len(p), sys.MaxTransfer) || s.marks.Load() != 0 {
				s.Reopen(ReadSide)
			}
			return n, nil
		case errno == 0:
			s.marks.Or(markEnd)
			s.Reopen(ReadSide)
			return 0, io.EOF
		case errno == syscall.EAGAIN:
			return 0, ErrNotReady
		case errno != syscall.EINTR:
			s.marks.Or(markEnd)
			s.Reopen(ReadSide)
			return 0, os.NewSyscallError("read", errno)
		}
	}
}

// Send writes as much of p as there is room for, without waiting: all of it, or some and ErrNotReady, or it fails with an
// *os.SyscallError. The caller must have the turn of the write side.
func (s *Socket) Send(p []byte) (int, error) {
	sent := 0
	for retried := false; ; {
		n, errno := s.loop.engine.kernel.Send(int(s.fd), p[sent:])
		switch {
		case errno == 0:
			sent += n
			if sent == len(p) {
				return sent, nil
			}
		case errno == syscall.EAGAIN:
			// Room that is made from here on opens the gate; room that was made before it was shut shows in a second try.
			if retried {
				return sent, ErrNotReady
			}
			s.gates[WriteSide].take()
			retried = true
		case errno != syscall.EINTR:
			return sent, os.NewSyscallError("write", errno)
		}
	}
}

// Sendv writes the buffers in order, as if they were one, and as much as there is room for, without waiting: it may write
// less than all for other reasons too. It fails with [ErrNotReady], having written nothing, or an *os.SyscallError. The
// caller must have the turn of the write side.
func (s *Socket) Sendv(bufs [][]byte) (int, error) {
	return s.transfer(WriteSide, "writev", func() (int, syscall.Errno) { return s.loop.engine.kernel.Sendv(int(s.fd), bufs) })
}

// transfer makes a system call that moves bytes through side and tells EAGAIN of the side from room or input that came
// just before: the gate is shut first, and a second try shows the difference.
func (s *Socket) transfer(side Side, name string, call func() (int, syscall.Errno)) (int, error) {
	for retried := false; ; {
		n, errno := call()
		switch {
		case errno == 0:
			return n, nil
		case errno == syscall.EAGAIN:
			if retried {
				return 0, ErrNotReady
			}
			s.gates[side].take()
			retried = true
		case errno != syscall.EINTR:
			return 0, os.NewSyscallError(name, errno)
		}
	}
}

// Reopen makes side ready, for a caller that was woken and does not use what there may be. The caller must have the turn of
// side, so that nobody waits for it.
func (s *Socket) Reopen(side Side) { s.gates[side].state.Store(gateReady) }

// LocalAddr returns the address of this end, the zero AddrPort if it has none of IP or is closed. Safe from any
// goroutine.
func (s *Socket) LocalAddr() netip.AddrPort {
	if !s.turns.enter() {
		return netip.AddrPort{}
	}
	defer s.leave()
	addr, _ := s.loop.engine.kernel.LocalAddr(int(s.fd))
	return addr
}

// Acquire takes the turn of side if it is free.
func (s *Socket) Acquire(side Side) Turn { return s.turns.acquire(side, false) }

// AcquireOrQueue takes the turn of side if it is free; if it is not, the next Release will say that somebody is queued.
// The owner must hold a lock of its own that it also takes when Release says so, or the two can miss each other.
func (s *Socket) AcquireOrQueue(side Side) Turn { return s.turns.acquire(side, true) }

// Release gives the turn of side back. If it reports that somebody is queued, it did not: the caller has it still and
// must pass it on to the first in its queue, calling [Socket.Dequeued] if that was the last. If there is none any more, it calls
// that as well, and Release again.
func (s *Socket) Release(side Side) (queued bool) {
	queued, last := s.turns.release(side)
	if last {
		s.finish()
	}
	return queued
}

// Dequeued says that nobody is queued for side any more. The caller must hold the lock that AcquireOrQueue needs.
func (s *Socket) Dequeued(side Side) { s.turns.dequeued(side) }

// Closed reports whether Close has been called.
func (s *Socket) Closed() bool { return s.turns.closed() }

// Close ends the socket: no turn is given any more, except to those that are queued, and the descriptor is closed as
// soon as nobody has one. It wakes nobody. It reports whether it was the first. Safe from any goroutine.
func (s *Socket) Close() bool {
	first, last := s.turns.close()
	if last {
		s.finish()
	}
	return first
}

func (s *Socket) leave() {
	if s.turns.leave() {
		s.finish()
	}
}

// finish closes the descriptor: once, and nobody uses it.
func (s *Socket) finish() {
	// The registration ends before the descriptor does; see poller.Poller. It fails only when the poller is closed.
	_ = s.loop.poller.Remove(int(s.fd))
	s.loop.engine.closeDescriptor(int(s.fd))
	s.loop.Post((*retired)(s))
}

// retired is a Socket whose slot is to be given back.
type retired Socket

func (s *retired) RunOnLoop() {
	s.loop.slots.release(s.token)
	s.loop.sockets.Add(-1)
}
