package loop

import (
	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

const (
	// lingerDrain is how long, in nanoseconds, and lingerBudget how many bytes a closed connection goes on taking what its
	// peer still sends, so that the peer gets to read what was written last.
	lingerDrain  = 500e6
	lingerBudget = 1 << 20
)

// CloseLinger is Close for a socket whose last output must not be lost. A descriptor that is closed with unread input, or
// that gets more afterwards, makes the kernel answer with a reset, which destroys what the peer has not read yet
// (RFC 1122, 4.2.2.13). So unless a read has seen the peer's end, our own is sent first, and what comes is dropped until
// the peer's or a limit. Whether input is unread cannot be known otherwise: it may have come without its event being
// handled, or may still come. Safe from any goroutine.
func (s *Socket) CloseLinger() bool {
	if s.marks.Load()&markEnd != 0 || !s.turns.enter() {
		return s.Close()
	}
	if first, _ := s.turns.close(); !first {
		s.leave()
		return false
	}
	if !s.loop.Post(&lingering{socket: s, budget: lingerBudget}) {
		s.leave()
	}
	return true
}

// LingerOn is what CloseLinger does after the close, for who had the turn of the write side when Close was called and has sent
// since what was left to send. The caller must have that turn still, and releases it afterwards.
func (s *Socket) LingerOn() {
	if s.marks.Load()&markEnd != 0 {
		return
	}
	s.turns.stay()
	if !s.loop.Post(&lingering{socket: s, budget: lingerBudget}) {
		s.leave()
	}
}

// Reset makes the close of the descriptor a reset (SO_LINGER of 0 seconds, socket(7)), also after Close: the peer is not to take
// what it has got for all. A unix socket has no such thing. The caller must have a turn.
func (s *Socket) Reset() { s.loop.engine.kernel.SetLinger(int(s.fd), 0) }

// lingering has a socket after its close, and its events: the owner's calls may still be on their way to find that it is closed, and
// must not be taken for a wait of ours, nor ours for one of theirs. It holds the descriptor like a call under way. Loop goroutine
// only.
type lingering struct {
	socket *Socket
	budget int
	timer  Timer
	begun  bool
	over   bool
}

// RunOnLoop begins, and is the timer's end.
func (g *lingering) RunOnLoop() {
	s := g.socket
	if g.begun || s.loop.killed {
		g.kill()
		return
	}
	g.begun = true
	s.loop.slots.replace(s.token, g)
	s.loop.engine.kernel.Shutdown(int(s.fd), sys.ShutWrite)
	s.loop.SetTimer(&g.timer, s.loop.Now()+lingerDrain, g)
	g.drain()
}

func (g *lingering) dispatch(r poller.Readiness) {
	if r&^poller.Writable != 0 {
		g.drain()
	}
}

// drain drops what has come.
func (g *lingering) drain() {
	s := g.socket
	for !g.over {
		n, err := s.Recv(s.loop.scratch)
		g.budget -= n
		switch {
		case err == ErrNotReady:
			return // the next arrival is an event
		case err != nil || g.budget <= 0:
			g.kill()
		}
	}
}

func (g *lingering) kill() {
	if g.over {
		return
	}
	g.over = true
	g.socket.loop.StopTimer(&g.timer)
	g.socket.leave()
}
