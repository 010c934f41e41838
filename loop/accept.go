package loop

import (
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

const (
	// acceptBudget is how many connections one turn accepts before the connections that are there get theirs.
	acceptBudget = 64

	// When accepting fails for want of something, it rests, each time twice as long, unless one of the engine's own descriptors
	// is closed meanwhile. The longest is short enough to notice soon what others have closed, and costs nothing: twenty system
	// calls a second.
	minAcceptPause = 5e6  // 5 ms
	maxAcceptPause = 50e6 // 50 ms

	// warnPause is the least time between two lines in the log.
	warnPause = 1e9 // 1 s
)

// Accepted is a connection that no Socket holds yet.
type Accepted struct {
	fd   int
	peer netip.AddrPort
}

// discard closes a connection that l has been promised but will not watch.
func (a Accepted) discard(l *Loop) {
	l.engine.closeDescriptor(a.fd)
	l.sockets.Add(-1)
}

func (ln *Listener) dispatch(poller.Readiness) {
	if ln.retry.place == 0 { // it does not rest
		ln.RunOnLoop()
	}
}

// nextTurn is a Listener that goes on after the budget of a turn.
type nextTurn Listener

func (n *nextTurn) RunOnLoop() {
	ln := (*Listener)(n)
	ln.queued = false
	ln.RunOnLoop()
}

// RunOnLoop accepts what is there, up to the budget of a turn.
func (ln *Listener) RunOnLoop() {
	if !ln.watched || ln.queued {
		return
	}
	ln.loop.StopTimer(&ln.retry)
	failed := 0
	for range acceptBudget {
		if ln.held.Load() || !ln.reserve() {
			return
		}
		accepted, errno := ln.accept()
		if errno != 0 {
			ln.admission.Cancel()
		}
		switch {
		case errno == 0:
			ln.recovered()
			ln.receive(accepted)
		case errno == syscall.EAGAIN || errno == syscall.EBADF:
			ln.recovered()
			return // nobody is waiting, or the listener is closed
		case isAboutTheConnection(errno):
			failed++
		case ln.starve():
			ln.rest(errno)
			return
		}
	}
	if failed == acceptBudget { // it may go on for ever
		ln.restLonger()
		return
	}
	ln.queued = true
	ln.loop.Requeue((*nextTurn)(ln))
}

// reserve reports whether there is room for one more connection. If not, accepting rests.
func (ln *Listener) reserve() bool {
	rest := ln.admission.Reserve()
	if rest < 0 {
		// Whoever makes room from here on resumes; room that was made before shows in a second try.
		ln.full.Store(true)
		if rest = ln.admission.Reserve(); rest < 0 {
			return false
		}
		ln.full.Store(false)
	}
	if rest > 0 {
		ln.restFor(rest)
		return false
	}
	return true
}

// restFor lets accepting rest for so many nanoseconds.
func (ln *Listener) restFor(nanoseconds int64) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if !ln.closed { // endListener, which stops the timer, is still to come
		ln.loop.SetTimer(&ln.retry, ln.loop.Now()+nanoseconds, ln)
	}
}

func (ln *Listener) accept() (Accepted, syscall.Errno) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.closed {
		return Accepted{}, syscall.EBADF
	}
	fd, peer, errno := ln.loop.engine.kernel.Accept(ln.fd)
	if errno == 0 {
		ln.settlement.begin()
	}
	return Accepted{fd, peer}, errno
}

// isAboutTheConnection tells errors of the connection that would have been accepted from errors of ours: accept(2)
// passes on what is pending on the new socket, and says to treat it like EAGAIN. EPERM is a firewall's answer.
func isAboutTheConnection(errno syscall.Errno) bool {
	switch errno {
	case syscall.EINTR, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT,
		sys.ENONET, syscall.ENETDOWN, syscall.ENETUNREACH, sys.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ETIMEDOUT:
		return true
	}
	return false
}

// starve says that the listener lacks something. It reports whether it did so before: a descriptor that is closed from here on
// lets accepting go on, and one that was closed just before shows in a second try.
func (ln *Listener) starve() bool {
	if ln.starved.Swap(true) {
		return true
	}
	ln.loop.engine.starved.Add(1)
	return false
}

// fed undoes starve. It reports whether the listener was starved.
func (ln *Listener) fed() bool {
	if !ln.starved.Load() || !ln.starved.Swap(false) {
		return false
	}
	ln.loop.engine.starved.Add(-1)
	return true
}

func (ln *Listener) recovered() {
	ln.pause = 0
	ln.fed()
}

// rest pauses accepting: for want of descriptors or memory there is no point in asking again at once.
func (ln *Listener) rest(errno syscall.Errno) {
	if ln.pause == 0 {
		ln.admission.Starved()
		ln.warn("accepting pauses", os.NewSyscallError("accept4", errno))
		ln.loop.engine.pipes.drop()
	}
	ln.restLonger()
}

// restLonger lets accepting rest, for longer each time until it goes well.
func (ln *Listener) restLonger() {
	ln.pause = min(max(2*ln.pause, minAcceptPause), maxAcceptPause)
	ln.restFor(ln.pause)
}

// warn writes to the log, but not more often than once in warnPause.
func (ln *Listener) warn(message string, err error) {
	now := ln.loop.Now()
	if ln.warned != 0 && now-ln.warned < warnPause {
		return
	}
	ln.warned = max(1, now)
	ln.loop.engine.logger.Warn(message, slog.String("addr", ln.addr.String()), slog.Any("error", err))
}

// closeDescriptor closes one of the engine's descriptors. Listeners that lack one try again.
func (e *Engine) closeDescriptor(fd int) {
	e.kernel.Close(fd)
	if e.starved.Load() == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for ln := range e.listeners {
		if ln.fed() {
			ln.loop.Post(ln)
		}
	}
}

// receive lets a connection in, or resets it: a reset costs this machine nothing more, where an orderly end would leave it in
// TIME-WAIT (RFC 9293, 3.6.1), and the client learns that it was not served.
func (ln *Listener) receive(accepted Accepted) {
	if ln.admission.Admit(accepted.peer) {
		ln.place(accepted)
		return
	}
	e := ln.loop.engine
	e.kernel.SetLinger(accepted.fd, 0)
	e.closeDescriptor(accepted.fd)
	ln.settlement.end()
}

// place gives a connection to the loop that has the fewest, or keeps it.
func (ln *Listener) place(accepted Accepted) {
	target := ln.loop
	if !ln.shared {
		target = ln.loop.engine.leastLoaded(target)
	}
	target.sockets.Add(1)
	if target == ln.loop {
		// Not now: who opens it may keep this goroutine, and there may be more to accept.
		target.arrived = append(target.arrived, arrival{ln, target, accepted})
		return
	}
	a := arrivals.Get().(*arrival)
	*a = arrival{ln, target, accepted}
	if !target.Post(a) {
		a.take().dismiss()
	}
}

// arrival is a connection on its way to its loop.
type arrival struct {
	listener *Listener
	loop     *Loop
	accepted Accepted
}

// arrivals are those that go from loop to loop, for the next: a server that a thousand clients come to at once does not keep the
// garbage of it.
var arrivals = sync.Pool{New: func() any { return new(arrival) }}

// take empties a for the next, and returns what it was.
func (a *arrival) take() arrival {
	taken := *a
	*a = arrival{}
	arrivals.Put(a)
	return taken
}

func (a *arrival) RunOnLoop() { a.take().begin() }

func (a arrival) begin() {
	if a.loop.killed {
		a.dismiss()
		return
	}
	defer a.listener.settlement.end() // open may end the goroutine
	a.listener.open(a.loop, a.accepted)
}

func (a arrival) dismiss() {
	a.accepted.discard(a.loop)
	a.listener.admission.Dismiss(a.accepted.peer)
	a.listener.settlement.end()
}
