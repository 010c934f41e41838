package coserver

import "time"

// Stats tell of an [Engine]: counts since it began, and how things are.
type Stats struct {
	// TakeOvers is how many times a handler has blocked or computed for so long that its loop went on without it.
	TakeOvers uint64
	// Away is how many of these have not waited for their connection since, nor ended, and AwayFor how long those that have were
	// busy after their loops went on. Functions of a Group are not among them.
	Away    int
	AwayFor time.Duration

	// Apart is how many times a server whose Carrier is Auto has begun to run all its handlers on goroutines, because they do so
	// again and again.
	Apart uint64

	// Goroutines is how many of EngineConfig.MaxGoroutines are busy.
	Goroutines int

	// Computing is how many handlers that were taken over for computing do so again, apart from their loops, and InLine how many
	// wait until they may: there are as many at a time as processors.
	Computing, InLine int

	// Loops are those of the engine, in order.
	Loops []LoopStats
}

// LoopStats tell of one reactor. Turns and Events are counts since it began, the others how things are.
type LoopStats struct {
	// Conns is how many connections it has. Those that have just been closed are among them.
	Conns int
	// Turns is how often it has waited for events, and Events how many it has got.
	Turns, Events uint64
	// Ready is how many connections and listeners had used up their share when its latest turn ended, and wait for the next.
	Ready int
	// Posted is how much work other goroutines have for it that it has not begun with.
	Posted int
	// Lag is how late it is, if EngineConfig.LagInterval has that measured.
	Lag LagStats
}

// Stats returns what there is to know of e. Each figure is exact, but they are not of one moment. Safe from any goroutine.
func (e *Engine) Stats() Stats {
	s := Stats{
		TakeOvers: e.takeOvers.Load(), Away: int(max(0, e.away.Load())), AwayFor: time.Duration(e.awayFor.Load()), Apart: e.apart.Load(),
		Loops: make([]LoopStats, len(e.reactors)),
	}
	e.mu.Lock()
	if e.pool != nil {
		s.Goroutines = e.pool.Running()
	}
	e.mu.Unlock()
	s.Computing, s.InLine = e.lane.count()
	for i := range s.Loops {
		l := e.reactors[i].loop.Stats()
		s.Loops[i] = LoopStats{Conns: l.Conns, Turns: l.Turns, Events: l.Events, Ready: l.Ready, Posted: l.Posted, Lag: e.lag.stats(i)}
	}
	return s
}
