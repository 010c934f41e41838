package loop

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/strand-net/strand/poller"
)

// Listener is a listening socket. Its connections are spread over the engine's loops, each to the one that has the fewest.
// Its methods are safe from any goroutine.
//
// When the process or the system runs out of descriptors or memory (EMFILE, ENFILE, ENOMEM, ENOBUFS), accepting rests and clients wait
// in the backlog, as with net/http; it goes on as soon as the engine closes a descriptor, or within 50 ms after somebody else
// has. No descriptor is kept in reserve to accept and close them: a client that is turned away comes again at once, when
// one that waits is served a moment later; and in a program of many threads the reserve may be gone before it is used.
// Whoever wants clients to be told sets a limit that is below that of the descriptors (coserver's Server.MaxConns).
type Listener struct {
	loop      *Loop
	addr      net.Addr
	open      func(*Loop, Accepted)
	admission Admission
	shared    bool        // it accepts for its own loop alone
	others    []*Listener // those of the other loops, if this is the first of ListenShared

	file os.FileInfo // of a unix listener that was bound here: Close removes it, if it is still there

	mu      sync.Mutex // held while fd is used, so that Close can close it at once
	fd      int
	serving bool
	closed  bool

	held atomic.Bool // accepting rests until Resume, because of Pause
	full atomic.Bool // or because of admission

	starved atomic.Bool // or for want of descriptors or memory; counted in Engine.starved

	settlement *settlement // shared with others

	// Loop goroutine only.
	token   poller.Token
	watched bool
	queued  bool  // it has had its turn, and the next is to come
	pause   int64 // nanoseconds; 0: accepting goes well
	warned  int64 // when the log was last written to
	retry   Timer // it rests until then
}

// Listen binds an address: network is "tcp", "tcp4", "tcp6" or "unix", and address is as in net.Listen. Clients can
// connect from now on, and are accepted from [Listener.Serve] on. The file of a unix socket that a process of the same user has left
// behind, and that nobody listens on, is replaced; anything else at that path is an error that says what it is. Errors are
// those of net.Listen, or [ErrEngineClosed].
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
	ln := &Listener{addr: addr, fd: fd, settlement: newSettlement(1)}
	if addr, ok := addr.(*net.UnixAddr); ok && addr.Name != "" && addr.Name[0] != '@' {
		ln.file, _ = os.Lstat(addr.Name)
	}
	return e.takeListener(ln)
}

// ListenShared is Listen with a listening socket for each loop, which accepts for itself, all at one address: the kernel spreads
// connections over them by a hash of the addresses (SO_REUSEPORT, socket(7)). It is for TCP alone: with "unix" it fails
// with errors.ErrUnsupported. Whoever has such an address in use does not keep out other processes of the same user that share
// theirs too.
func (e *Engine) ListenShared(network, address string) (*Listener, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, &net.OpError{Op: "listen", Net: network, Err: errors.ErrUnsupported}
	}
	var first *Listener
	all := newSettlement(len(e.loops))
	for _, l := range e.loops {
		part, err := e.listenShared(l, network, address, all)
		if err != nil {
			if first != nil {
				first.Close()
			}
			return nil, err
		}
		if first == nil {
			first = part
			address = part.addr.String() // with the port that was chosen for port 0
		} else {
			first.others = append(first.others, part)
		}
	}
	return first, nil
}

func (e *Engine) listenShared(l *Loop, network, address string, all *settlement) (*Listener, error) {
	if e.isClosed() {
		return nil, ErrEngineClosed
	}
	fd, addr, err := e.kernel.ListenShared(network, address)
	if err != nil {
		return nil, err
	}
	return e.takeListener(&Listener{addr: addr, fd: fd, loop: l, shared: true, settlement: all})
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
	return e.takeListener(&Listener{addr: original.Addr(), fd: fd, settlement: newSettlement(1)})
}

// takeListener gives ln to one of the loops, unless it has one.
func (e *Engine) takeListener(ln *Listener) (*Listener, error) {
	e.mu.Lock()
	if ln.loop == nil {
		ln.loop = e.loops[e.nextLoop%len(e.loops)]
		e.nextLoop++
	}
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

// Control calls do with the descriptor, which stays open until do has returned; of a shared listener with that of the first loop. It
// fails with net.ErrClosed after Close.
func (ln *Listener) Control(do func(fd uintptr)) error {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closed {
		return net.ErrClosed
	}
	if errno := ln.loop.engine.kernel.Control(ln.fd, do); errno != 0 {
		return os.NewSyscallError("control", errno)
	}
	return nil
}

// Serve starts accepting: open is called for each connection, on the goroutine of the loop that is to have it, and
// gives it to [Loop.Attach]. admission decides who comes in; nil lets in everybody. It fails with net.ErrClosed after Close; a
// listener serves once.
func (ln *Listener) Serve(open func(*Loop, Accepted), admission Admission) error {
	for _, other := range ln.others {
		if err := other.Serve(open, admission); err != nil {
			return err
		}
	}
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closed || ln.serving {
		return &net.OpError{Op: "accept", Net: ln.addr.Network(), Addr: ln.addr, Err: net.ErrClosed}
	}
	ln.serving = true
	ln.open, ln.admission = open, admission
	if admission == nil {
		ln.admission = everybody{}
	}
	ln.loop.Hold()
	if !ln.loop.Post((*startListener)(ln)) {
		ln.loop.Unhold()
		return ErrEngineClosed
	}
	return nil
}

// Pause makes accepting rest: clients wait in the backlog. A few that are on their way may still be given to open.
func (ln *Listener) Pause() {
	ln.held.Store(true)
	for _, other := range ln.others {
		other.Pause()
	}
}

// Resume goes on accepting after Pause, and after an Admission had no room.
func (ln *Listener) Resume() {
	held, full := ln.held.Swap(false), ln.full.Swap(false)
	if held || full {
		ln.loop.Post(ln)
	}
	for _, other := range ln.others {
		other.Resume()
	}
}

// Close stops listening: from its return on, the address is free and new clients are refused. Connections that were
// accepted go on, also those that are still on their way to open: see [Listener.Settled]. It fails with net.ErrClosed the
// second time.
func (ln *Listener) Close() error {
	for _, other := range ln.others {
		_ = other.Close() // closed already if this one is
	}
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
	ln.removeFile()
	e.closeDescriptor(ln.fd)
	e.mu.Lock()
	delete(e.listeners, ln)
	e.mu.Unlock()
	if ln.serving {
		ln.loop.Post((*endListener)(ln))
	}
	ln.settlement.end()
	return nil
}

// Settled returns a channel that is closed when the listener is, and each connection that it had accepted has been given to
// open, or turned away. Whoever then finds no connection knows that there will be none.
func (ln *Listener) Settled() <-chan struct{} { return ln.settlement.settled }

// removeFile removes the file of a unix socket, unless something else has taken its place. It comes before the descriptor is
// closed: until then the kernel holds on to the file, and nobody else's can have its number.
func (ln *Listener) removeFile() {
	if ln.file == nil {
		return
	}
	path := ln.addr.String()
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, ln.file) {
		_ = os.Remove(path)
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
	ln.watch()
}

// watch begins to accept, or, if the kernel has no room to watch one more descriptor (epoll_ctl(2): ENOMEM, ENOSPC), tries
// again later. The caller must have mu.
func (ln *Listener) watch() {
	err := ln.loop.poller.Add(ln.fd, ln.token, poller.Readable)
	if err == nil {
		ln.watched = true
		return
	}
	ln.warn("listener cannot be watched", err)
	ln.loop.SetTimer(&ln.retry, ln.loop.Now()+maxAcceptPause, (*watchListener)(ln))
}

type watchListener Listener

func (w *watchListener) RunOnLoop() {
	ln := (*Listener)(w)
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if !ln.closed {
		ln.watch()
	}
}

type endListener Listener

func (s *endListener) RunOnLoop() {
	ln := (*Listener)(s)
	ln.loop.StopTimer(&ln.retry)
	ln.fed()
	ln.loop.slots.release(ln.token)
	ln.loop.Unhold()
}

func (ln *Listener) kill() { ln.Close() }
