package coserver

import (
	"net"
	"os"
	"time"

	"github.com/strand-net/strand/loop"
)

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (s *PacketSession) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline makes Read, also one that waits already, fail with os.ErrDeadlineExceeded from t on. Nothing that has arrived is lost, and with a
// later deadline the session reads on. The zero Time means no deadline. Safe from any goroutine. It fails with net.ErrClosed.
func (s *PacketSession) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return s.opError("set", net.ErrClosed)
	}
	l := s.port.reactor.loop
	if s.readAt = deadlineOn(l, t); s.readAt == 0 || len(s.readers) == 0 {
		return nil
	}
	if s.readAt <= l.Now() {
		s.wakeReaders(os.ErrDeadlineExceeded)
	} else {
		s.arm(s.readAt, false)
	}
	return nil
}

// SetWriteDeadline makes Write, also one that waits already, fail with os.ErrDeadlineExceeded from t on. It waits only if the kernel has no room.
// The zero Time means no deadline. Safe from any goroutine. It fails with net.ErrClosed.
func (s *PacketSession) SetWriteDeadline(t time.Time) error {
	if s.closed.Load() {
		return s.opError("set", net.ErrClosed)
	}
	s.writeAt.Store(deadlineOn(s.port.reactor.loop, t))
	s.watchWriteDeadline()
	return nil
}

// deadlineOn is t on the clock of l, and 0 for none.
func deadlineOn(l *loop.Loop, t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(1, l.TimeOf(t))
}

func (s *PacketSession) writeExpired() bool {
	at := s.writeAt.Load()
	return at != 0 && at <= s.port.reactor.loop.Now()
}

// watchWriteDeadline makes sure that writes that wait end in time.
func (s *PacketSession) watchWriteDeadline() {
	at := s.writeAt.Load()
	if at == 0 || s.writing.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arm(at, false)
}

// arm makes the timer fire at a time or before. own says that the handler is the caller. The caller must have mu.
func (s *PacketSession) arm(at int64, own bool) {
	if s.armed != 0 && s.armed <= at {
		return
	}
	s.armed = at
	l := s.port.reactor.loop
	if own && l.Pin(s.task.visit) {
		l.SetTimer(&s.timer, at, (*sessionTimer)(s))
		l.Unpin(s.task.visit)
		return
	}
	l.Post((*sessionArming)(s))
}

// sessionArming and sessionTimer are a session on its loop, to set its timer and because it has fired.
type (
	sessionArming PacketSession
	sessionTimer  PacketSession
)

func (a *sessionArming) RunOnLoop() {
	s := (*PacketSession)(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.port.reactor.loop; s.armed != 0 && !s.closed.Load() {
		l.SetTimer(&s.timer, s.armed, (*sessionTimer)(s))
	} else {
		l.StopTimer(&s.timer)
	}
}

func (f *sessionTimer) RunOnLoop() {
	s := (*PacketSession)(f)
	l := s.port.reactor.loop
	now := l.Now()
	s.mu.Lock()
	s.armed = 0
	if s.closed.Load() {
		s.mu.Unlock()
		return
	}
	if s.readAt != 0 && s.readAt <= now {
		s.wakeReaders(os.ErrDeadlineExceeded)
	}
	idle, next := s.look(now)
	if next != 0 {
		s.armed = next
		l.SetTimer(&s.timer, next, f)
	}
	s.mu.Unlock()
	if s.writeExpired() {
		s.wakeWriters()
	}
	if idle {
		s.shut(ErrIdleTimeout)
	}
}

// look reports whether the session has been idle for too long, and when to look again, if at all. The caller must have mu.
func (s *PacketSession) look(now int64) (idle bool, next int64) {
	if after := s.run.idleAfter; after > 0 {
		if s.wrote.Swap(false) || len(s.readers) == 0 {
			s.active = now
		}
		if next = s.active + after; next <= now {
			return true, 0
		}
	}
	if len(s.readers) > 0 && s.readAt > now && (next == 0 || s.readAt < next) {
		next = s.readAt
	}
	if at := s.writeAt.Load(); at > now && s.writing.Load() > 0 && (next == 0 || at < next) {
		next = at
	}
	return false, next
}
