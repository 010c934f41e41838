package loop

import "sync/atomic"

// Stats are counts of a loop. Conns, Ready and Posted are those of now, the others since it began.
type Stats struct {
	// Conns is how many connections it has, those included that it has been promised, or that are closed and not yet forgotten.
	Conns int
	// Turns is how often it has waited for events, and Events how many it has got.
	Turns, Events uint64
	// Ready is how many connections, listeners and handlers had used up their share when the latest turn ended, and wait for the next.
	Ready int
	// Posted is how much work other goroutines have for it that it has not begun with.
	Posted int
}

// stats are where Stats come from. Only the loop's goroutine writes them, once in a turn.
type stats struct {
	turns, events atomic.Uint64
	ready         atomic.Int32
}

// note is called when a turn ends, which left so many for the next, and had so many events.
func (s *stats) note(ready, events int) {
	s.turns.Store(s.turns.Load() + 1)
	if events > 0 {
		s.events.Store(s.events.Load() + uint64(events))
	}
	if n := int32(ready); n != s.ready.Load() {
		s.ready.Store(n)
	}
}

// Stats returns the counts of l. They are not of one moment. Safe from any goroutine.
func (l *Loop) Stats() Stats {
	return Stats{
		Conns: int(l.sockets.Load()), Turns: l.stats.turns.Load(), Events: l.stats.events.Load(),
		Ready: int(l.stats.ready.Load()), Posted: l.mailbox.len(),
	}
}
