package coserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/strand-net/strand/loop"
)

// PacketSession is what a [PacketServer] has with one address: the datagrams that come from it, in the order in which the kernel has
// received them, and the way back. Its methods may be called from any goroutine. The session's own handler waits without holding up anything
// else. It is a net.Conn, but each Read returns one datagram and each Write sends one.
type PacketSession struct {
	task task
	port *packetPort
	run  *packetRun
	peer netip.AddrPort

	closed  atomic.Bool  // set with mu held
	wrote   atomic.Bool  // since the timer looked last
	writeAt atomic.Int64 // when writes give up, on the loop's clock; 0: never
	writing atomic.Int32 // writes that wait, or are about to
	failing atomic.Bool  // writeErr is set

	mu       sync.Mutex
	waiting  packetQueue
	lent     packet          // what the latest Next has returned
	readers  []*packetReader // that wait for a datagram, in order
	taken    bool            // something has been read
	active   int64           // when the latest has come, or somebody has begun to wait for it
	readAt   int64           // when reads give up; 0: never
	cause    error           // why it is closed
	writeErr error           // of a datagram that was gathered: what the next Write fails with
	ctx      context.Context // nil until it is asked for
	cancel   context.CancelCauseFunc
	armed    int64 // when the timer fires, 0: it does not

	timer loop.Timer // loop goroutine only

	own       packetReader // the handler's, so that it need not be made each time
	readVisit uint64       // of the loop to the handler, when its latest Read returned; the handler's own
}

// packetReader is a Read that waits. Whoever ends the wait fills in the result before.
type packetReader struct {
	p      []byte // where the datagram is copied to, or
	lend   bool   // it is to be kept in packet
	waiter waiter
	packet packet
	n      int
	err    error
}

// take gives the reader its datagram.
func (r *packetReader) take(data []byte) {
	if r.err = nil; r.lend {
		r.packet, r.n = newPacket(data), len(data)
	} else if r.n = copy(r.p, data); r.n < len(data) {
		r.err = io.ErrShortBuffer
	}
}

func newPacketSession(p *packetPort, peer netip.AddrPort) *PacketSession {
	s := &PacketSession{port: p, run: p.run, peer: peer}
	s.task.reactor = p.reactor
	return s
}

// RemoteAddr returns the address of the peer.
func (s *PacketSession) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(s.peer) }

// Peer returns the address of the peer.
func (s *PacketSession) Peer() netip.AddrPort { return s.peer }

// LocalAddr returns the address that the server listens on.
func (s *PacketSession) LocalAddr() net.Addr { return s.port.local }

// ServerContext returns a context that is cancelled when the server begins to end, by Shutdown or Close, with the cause ErrServerClosed: for a
// handler that waits for something else than its session, and would keep Shutdown waiting. Safe from any goroutine.
func (s *PacketSession) ServerContext() context.Context { return s.run.ctx }

// Context returns a context that is cancelled when the session ends. context.Cause then says why: with what its handler returned or panicked with,
// net.ErrClosed after Close, ErrIdleTimeout, ErrQueueFull with the policy CutSlow, or ErrServerClosed. Safe from any goroutine.
func (s *PacketSession) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		s.ctx, s.cancel = context.WithCancelCause(context.Background())
		if s.closed.Load() {
			s.cancel(s.cause)
		}
	}
	return s.ctx
}

// Read waits for the next datagram and copies it to p. It fails with io.ErrShortBuffer if p is too short: then the rest of the datagram is lost, as everywhere
// with datagrams. One without content is no end: n is 0, and there is no error. It fails with os.ErrDeadlineExceeded, with ErrIdleTimeout when the
// server's IdleTimeout has closed the session, and with net.ErrClosed.
func (s *PacketSession) Read(p []byte) (int, error) {
	n, err := s.read(p)
	if err != nil {
		err = s.opError("read", err)
	}
	return n, err
}

// ReadFrom is Read, and returns the address of the peer besides.
func (s *PacketSession) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := s.Read(p)
	return n, s.RemoteAddr(), err
}

// Next is Read without a copy, and without a buffer of the handler's own: what it returns is lent, for the caller to read and to change, until the next call of
// Next or Read, or until the handler returns. One goroutine at a time may use it.
func (s *PacketSession) Next() ([]byte, error) {
	packet, _, err := s.take(nil, true)
	if err != nil {
		return nil, s.opError("read", err)
	}
	return packet.data, nil
}

func (s *PacketSession) read(p []byte) (int, error) {
	_, n, err := s.take(p, false)
	return n, err
}

// take waits for a datagram, and copies it to p or lends it.
func (s *PacketSession) take(p []byte, lend bool) (packet, int, error) {
	own := s.task.isCaller()
	s.mu.Lock()
	s.takeBack()
	switch {
	case s.closed.Load():
		defer s.mu.Unlock()
		return packet{}, 0, s.endedBy()
	case s.readAt != 0 && s.readAt <= s.port.reactor.loop.Now():
		s.mu.Unlock()
		return packet{}, 0, os.ErrDeadlineExceeded
	case s.waiting.len() > 0:
		next := s.waiting.pop(s.run)
		s.taken = true
		if lend {
			s.lent = next
		}
		s.mu.Unlock()
		s.noteRead(own)
		if lend {
			return next, len(next.data), nil
		}
		defer next.free()
		n := copy(p, next.data)
		if n < len(next.data) {
			return packet{}, n, io.ErrShortBuffer
		}
		return packet{}, n, nil
	case s.run.drained.Load():
		s.mu.Unlock()
		s.shut(ErrServerClosed)
		return packet{}, 0, net.ErrClosed
	}
	r := &s.own
	if !own {
		r = new(packetReader)
	}
	r.p, r.lend = p, lend
	r.waiter.prepare(s.self())
	s.readers = append(s.readers, r)
	if !own || s.readVisit == 0 || s.readVisit != s.task.visit {
		s.active = s.port.reactor.loop.Now()
	}
	if s.readAt != 0 {
		s.arm(s.readAt, own)
	}
	s.mu.Unlock()
	r.waiter.wait()
	r.p = nil
	s.noteRead(own)
	if lent := r.packet; lent.data != nil {
		r.packet = packet{}
		s.mu.Lock()
		s.lent = lent
		s.mu.Unlock()
		return lent, r.n, r.err
	}
	return packet{}, r.n, r.err
}

// takeBack frees what Next has lent. The caller must have mu.
func (s *PacketSession) takeBack() {
	if s.lent.data != nil {
		s.lent.free()
		s.lent = packet{}
	}
}

// noteRead remembers in which visit the handler has got a datagram: if it waits for the next in the same, no time has passed.
func (s *PacketSession) noteRead(own bool) {
	if own {
		s.readVisit = s.task.visit
	}
}

// endedBy is what calls fail with after the end. The caller must have mu.
func (s *PacketSession) endedBy() error {
	if s.cause == ErrIdleTimeout {
		return ErrIdleTimeout
	}
	return net.ErrClosed
}

// Write sends p as one datagram. What a handler writes while it answers goes out when all handlers have had their turn that the same batch of
// datagrams has woken, in one system call. If the kernel has no room, Write waits until it has, or for the write deadline. It fails with EMSGSIZE if p is longer than
// a datagram may be, and with what the kernel has said to one that was written before and refused (which it does seldom: a datagram that nobody gets
// is no error). Safe from any goroutine.
func (s *PacketSession) Write(p []byte) (int, error) {
	if err := s.write(p); err != nil {
		return 0, s.opError("write", err)
	}
	return len(p), nil
}

func (s *PacketSession) write(p []byte) error {
	s.wrote.Store(true)
	if err := s.port.out.send(s, p, s.peer); err != nil {
		return err
	}
	if !s.failing.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.writeErr
	s.writeErr = nil
	s.failing.Store(false)
	return err
}

// refused notes what the kernel has said to a datagram.
func (s *PacketSession) refused(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeErr = err
	s.failing.Store(true)
}

// Close ends the session: calls that wait for it fail with net.ErrClosed, what waits to be read is dropped, and what was written is sent. A datagram that
// comes afterwards begins another session when the handler has returned. The second Close fails with net.ErrClosed.
func (s *PacketSession) Close() error {
	if !s.shut(net.ErrClosed) {
		return s.opError("close", net.ErrClosed)
	}
	return nil
}

// shut closes the session because of cause, and drops what waits. It reports whether it was the first.
func (s *PacketSession) shut(cause error) bool { return s.finish(cause, true) }

func (s *PacketSession) finish(cause error, drop bool) bool {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return false
	}
	s.closed.Store(true)
	s.cause = cause
	switch cause { // before anybody can have heard of it
	case ErrQueueFull:
		s.run.server.counters.cut.Add(1)
	case ErrIdleTimeout:
		s.run.server.counters.idle.Add(1)
	}
	if drop {
		s.waiting.drop(s.run)
	}
	s.wakeReaders(s.endedBy())
	if s.cancel != nil {
		s.cancel(cause)
	}
	s.mu.Unlock()
	s.wakeWriters()
	return true
}

// wakeReaders ends all reads that wait. The caller must have mu.
func (s *PacketSession) wakeReaders(err error) {
	for _, r := range s.readers {
		r.n, r.err = 0, err
		r.waiter.wake(nil)
	}
	s.readers = slices.Delete(s.readers, 0, len(s.readers))
}

// wakeWriters lets writes that wait look again.
func (s *PacketSession) wakeWriters() {
	if s.writing.Load() == 0 {
		return
	}
	o := &s.port.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wake(s)
}

// endIfWaiting closes the session if somebody waits for a datagram.
func (s *PacketSession) endIfWaiting() {
	s.mu.Lock()
	waits := len(s.readers) > 0
	s.mu.Unlock()
	if waits {
		s.shut(ErrServerClosed)
	}
}

// arrive takes a datagram. Loop goroutine only.
func (s *PacketSession) arrive(data []byte, now int64) {
	s.mu.Lock()
	s.active = now
	if len(s.readers) > 0 {
		r := s.readers[0]
		s.taken = true
		s.readers = slices.Delete(s.readers, 0, 1)
		r.take(data)
		s.mu.Unlock()
		r.waiter.wakeLater(s.port.reactor.loop)
		return
	}
	cut := s.enqueue(data)
	s.mu.Unlock()
	if cut {
		s.shut(ErrQueueFull)
	}
}

// enqueue keeps a datagram that nobody waits for, or drops one. It reports whether the session is to be closed. The caller must have mu.
func (s *PacketSession) enqueue(data []byte) (cut bool) {
	dropped := &s.run.server.counters.dropped
	if s.waiting.len() >= s.run.maxWaiting {
		dropped.maxWaiting.Add(1)
		switch s.run.server.QueuePolicy {
		case DropNewest:
			return false
		case CutSlow:
			return true
		}
		s.waiting.pop(s.run).free()
	}
	if !s.waiting.push(data, s.run) {
		dropped.maxWaitingTotal.Add(1)
	}
	return false
}

// takeWaiting returns what has not been read, for the next session; but if nothing has been, without the oldest: a handler that does not read would
// be called for it for ever. The session must be over.
func (s *PacketSession) takeWaiting() packetQueue {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeBack()
	if !s.taken && s.waiting.len() > 0 {
		s.waiting.pop(s.run).free()
		s.run.server.counters.dropped.closed.Add(1)
	}
	left := s.waiting
	s.waiting = packetQueue{}
	return left
}

// sessionBegin is a session on its way to its beginning.
type sessionBegin PacketSession

func (b *sessionBegin) RunOnLoop() {
	s := (*PacketSession)(b)
	if s.run.idleAfter > 0 {
		s.mu.Lock()
		s.armed = s.active + s.run.idleAfter
		s.port.reactor.loop.SetTimer(&s.timer, s.armed, (*sessionTimer)(s))
		s.mu.Unlock()
	}
	if s.run.server.inline() {
		s.task.startInline(s)
		return
	}
	s.task.state.Store(taskGoroutine)
	if err := s.run.engine.spawn(func() { s.task.run(nil, s) }); err != nil {
		s.shut(err)
		s.over()
		s.task.reactor.loop.Unhold()
		s.run.server.counters.dropped.maxGoroutines.Add(1)
		s.run.server.report(s, err, endUnserved)
	}
}

func (s *PacketSession) coroutine(yield func(struct{}) bool) { s.task.run(yield, s) }

// serve is the life of a session: its handler, and what comes after it however it ends.
func (s *PacketSession) serve() {
	returned := false
	defer func() {
		if !returned {
			s.fell(recover())
		}
		s.over()
	}()
	err := s.run.server.Handler(s)
	s.finish(causeOf(err), false)
	returned = true
	if err == nil || err == io.EOF || isConnError(err) || errors.Is(err, ErrIdleTimeout) {
		return
	}
	s.run.server.counters.handlerErrors.Add(1)
	s.run.server.report(s, err, endFailed)
}

// fell ends a session whose handler did not return.
func (s *PacketSession) fell(reason any) {
	err := ErrHandlerExited
	if reason != nil {
		err = &PanicError{Value: reason, Stack: debug.Stack()}
	}
	s.finish(err, false)
	s.run.server.counters.panics.Add(1)
	s.run.server.report(s, err, endFell)
}

// over is the end of a session, after that of its handler.
func (s *PacketSession) over() {
	if l := s.port.reactor.loop; l.Pin(s.task.visit) {
		l.StopTimer(&s.timer)
		l.Unpin(s.task.visit)
	} else {
		l.Post((*sessionArming)(s))
	}
	s.port.replace(s)
}

// self returns the task that the caller is, if it is one that a loop may carry: blocking would block the loop.
func (s *PacketSession) self() *task {
	if s.task.isCaller() && s.task.isCoroutine() {
		return &s.task
	}
	return currentTask()
}

func (s *PacketSession) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

var _ net.Conn = (*PacketSession)(nil)
