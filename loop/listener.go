package loop

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/strand-net/strand/poller"
)

const (
	// acceptBudget is how many connections one turn accepts before the connections that are there get theirs.
	acceptBudget = 64

	// When accepting fails for lack of something, it pauses, each time twice as long.
	minAcceptPause = 5e6 // 5 ms
	maxAcceptPause = 1e9 // 1 s
)

// Accepted is a connection that no Socket holds yet.
type Accepted struct {
	fd   int
	peer netip.AddrPort
}

// discard closes a connection that l has been promised but will not watch.
func (a Accepted) discard(l *Loop) {
	l.engine.kernel.Close(a.fd)
	l.sockets.Add(-1)
}

// Listener is a listening socket. Its connections are spread over the engine's loops, each to the one that has the fewest.
// Its methods are safe from any goroutine.
type Listener struct {
	loop *Loop
	addr net.Addr
	open func(*Loop, Accepted)

	path string // of a unix listener that was bound here: Close removes it

	mu      sync.Mutex // held while fd is used, so that Close can close it at once
	fd      int
	serving bool
	closed  bool

	held atomic.Bool // accepting rests until Resume

	unsettled atomic.Int64  // connections accepted and not given to open yet, and 1 until Close
	settled   chan struct{} // closed when there is none

	// Loop goroutine only.
	token poller.Token
	pause int64 // nanoseconds; 0: accepting goes well
	retry Timer
}

// Listen binds an address: network is "tcp", "tcp4", "tcp6" or "unix", and address is as in net.Listen. Clients can
// connect from now on, and are accepted from [Listener.Serve] on. Errors are those of net.Listen, or [ErrEngineClosed].
func (e *Engine) Listen(network, address string) (*Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return nil, &net.OpError{Op: "listen", Net: network, Err: net.UnknownNetworkError(network)}
	}
	if e.isClosed() {
		return nil, ErrEngineClosed
	}
	fd, addr, err := e.kernel.Listen(network, address) // may ask a name server
	if err != nil {
		return nil, err
	}
	ln := newListener(addr, fd)
	if addr, ok := addr.(*net.UnixAddr); ok && addr.Name != "" && addr.Name[0] != '@' {
		ln.path = addr.Name
	}
	return e.takeListener(ln)
}

// Adopt makes a Listener of one of package net: *net.TCPListener or *net.UnixListener, of net.Listen or of net.FileListener.
// It uses a duplicate of the descriptor; the original should not accept any more, and must be closed as well before clients
// are refused. Errors are those of the original's SyscallConn, or [ErrEngineClosed].
func (e *Engine) Adopt(original interface {
	net.Listener
	syscall.Conn
}) (*Listener, error) {
	if e.isClosed() {
		return nil, ErrEngineClosed
	}
	fd, err := e.kernel.Adopt(original)
	if err != nil {
		return nil, err
	}
	return e.takeListener(newListener(original.Addr(), fd))
}

func newListener(addr net.Addr, fd int) *Listener {
	ln := &Listener{addr: addr, fd: fd, settled: make(chan struct{})}
	ln.unsettled.Store(1)
	return ln
}

// takeListener gives ln to one of the loops.
func (e *Engine) takeListener(ln *Listener) (*Listener, error) {
	e.mu.Lock()
	ln.loop = e.loops[e.nextLoop%len(e.loops)]
	e.nextLoop++
	e.listeners[ln] = struct{}{}
	closed := e.closed
	e.mu.Unlock()
	if closed {
		ln.Close()
		return nil, ErrEngineClosed
	}
	return ln, nil
}

// Addr returns the address that the listener is bound to.
func (ln *Listener) Addr() net.Addr { return ln.addr }

// Control calls do with the descriptor, which stays open until do has returned. It fails with net.ErrClosed after Close.
func (ln *Listener) Control(do func(fd uintptr)) error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closed {
		return net.ErrClosed
	}
	do(uintptr(ln.fd))
	return nil
}

// Serve starts accepting: open is called for each connection, on the goroutine of the loop that is to have it, and
// gives it to [Loop.Attach]. It fails with net.ErrClosed after Close; a listener serves once.
func (ln *Listener) Serve(open func(*Loop, Accepted)) error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closed || ln.serving {
		return &net.OpError{Op: "accept", Net: ln.addr.Network(), Addr: ln.addr, Err: net.ErrClosed}
	}
	ln.serving = true
	ln.open = open
	ln.loop.Hold()
	if !ln.loop.Post((*startListener)(ln)) {
		ln.loop.Unhold()
		return ErrEngineClosed
	}
	return nil
}

// Pause makes accepting rest: clients wait in the backlog. A few that are on their way may still be given to open.
func (ln *Listener) Pause() { ln.held.Store(true) }

// Resume goes on accepting after Pause.
func (ln *Listener) Resume() {
	if ln.held.Swap(false) {
		ln.loop.Post(ln)
	}
}

// Close stops listening: from its return on, the address is free and new clients are refused. Connections that were
// accepted go on, also those that are still on their way to open: see [Listener.Settled]. It fails with net.ErrClosed the
// second time.
func (ln *Listener) Close() error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closed {
		return &net.OpError{Op: "close", Net: ln.addr.Network(), Addr: ln.addr, Err: net.ErrClosed}
	}
	ln.closed = true
	e := ln.loop.engine
	if ln.serving {
		_ = ln.loop.poller.Remove(ln.fd) // not there yet, or the engine is gone
	}
	e.kernel.Close(ln.fd)
	if ln.path != "" {
		_ = os.Remove(ln.path)
	}
	e.mu.Lock()
	delete(e.listeners, ln)
	e.mu.Unlock()
	if ln.serving {
		ln.loop.Post((*endListener)(ln))
	}
	ln.settle()
	return nil
}

// Settled returns a channel that is closed when the listener is, and each connection that it had accepted has been given to
// open. Whoever then finds no connection knows that there will be none.
func (ln *Listener) Settled() <-chan struct{} { return ln.settled }

// settle counts a connection as given to open, or the listener as closed.
func (ln *Listener) settle() {
	if ln.unsettled.Add(-1) == 0 {
		close(ln.settled)
	}
}

type startListener Listener

func (s *startListener) RunOnLoop() {
	ln := (*Listener)(s)
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.token = ln.loop.slots.take(ln)
	if ln.closed { // endListener comes next
		return
	}
	if err := ln.loop.poller.Add(ln.fd, ln.token, poller.Readable); err != nil {
		ln.loop.engine.logger.Error("listener cannot be watched", slog.Any("addr", ln.addr), slog.Any("error", err))
	}
}

type endListener Listener

func (s *endListener) RunOnLoop() {
	ln := (*Listener)(s)
	ln.loop.StopTimer(&ln.retry)
	ln.loop.slots.release(ln.token)
	ln.loop.Unhold()
}

func (ln *Listener) kill() { ln.Close() }

func (ln *Listener) dispatch(poller.Readiness) {
	if ln.pause == 0 {
		ln.RunOnLoop()
	}
}

// RunOnLoop accepts what is there, up to the budget of a turn.
func (ln *Listener) RunOnLoop() {
	for range acceptBudget {
		if ln.held.Load() {
			return
		}
		accepted, errno := ln.accept()
		switch {
		case errno == 0:
			ln.pause = 0
			ln.place(accepted)
		case errno == syscall.EAGAIN || errno == syscall.EBADF:
			ln.pause = 0
			return // nobody is waiting, or the listener is closed
		case isAboutTheConnection(errno):
			continue
		default:
			ln.rest(errno)
			return
		}
	}
	ln.loop.Requeue(ln)
}

func (ln *Listener) accept() (Accepted, syscall.Errno) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closed {
		return Accepted{}, syscall.EBADF
	}
	fd, peer, errno := ln.loop.engine.kernel.Accept(ln.fd)
	if errno == 0 {
		ln.unsettled.Add(1)
	}
	return Accepted{fd, peer}, errno
}

// isAboutTheConnection tells errors of the connection that would have been accepted from errors of ours: accept(2)
// passes on what is pending on the new socket, and says to treat it like EAGAIN. EPERM is a firewall's answer.
func isAboutTheConnection(errno syscall.Errno) bool {
	switch errno {
	case syscall.EINTR, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT,
		syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ETIMEDOUT:
		return true
	}
	return false
}

// rest pauses accepting: for want of descriptors or memory there is no point in asking again at once, and clients
// wait in the backlog meanwhile.
func (ln *Listener) rest(errno syscall.Errno) {
	if ln.pause == 0 {
		ln.loop.engine.logger.Warn("accepting pauses", slog.Any("addr", ln.addr), slog.Any("error", os.NewSyscallError("accept4", errno)))
	}
	ln.pause = min(max(2*ln.pause, minAcceptPause), maxAcceptPause)
	ln.loop.SetTimer(&ln.retry, ln.loop.Now()+ln.pause, ln)
}

// place gives a connection to the loop that has the fewest.
func (ln *Listener) place(accepted Accepted) {
	target := ln.loop.engine.leastLoaded(ln.loop)
	target.sockets.Add(1)
	a := arrival{ln, target, accepted}
	if target == ln.loop {
		target.arrived = append(target.arrived, a) // not now: who opens it may keep this goroutine, and there may be more to accept
	} else if !target.Post(a) {
		accepted.discard(target)
		ln.settle()
	}
}

// arrival is a connection on its way to its loop.
type arrival struct {
	listener *Listener
	loop     *Loop
	accepted Accepted
}

func (a arrival) RunOnLoop() {
	defer a.listener.settle() // open may end the goroutine
	if a.loop.killed {
		a.accepted.discard(a.loop)
		return
	}
	a.listener.open(a.loop, a.accepted)
}
