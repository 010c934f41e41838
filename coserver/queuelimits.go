package coserver

import (
	"fmt"
	"sync/atomic"
)

// QueuePolicy says what becomes of a message for which the queue of a slow peer has no room. The fourth way is Write, which waits
// until the peer takes it, or for its deadline or Server.WriteTimeout.
type QueuePolicy uint8

const (
	// DropNewest refuses it: [Conn.Enqueue] fails with ErrQueueFull, so that the caller knows.
	DropNewest QueuePolicy = iota

	// DropOldest makes room for it by dropping the oldest messages of the same queue. A message that has begun to be sent is sent
	// whole; if what is being sent leaves no room, it is the newest that is refused. For what grows old while it waits: prices,
	// positions.
	DropOldest

	// CutSlow closes the connection, with ErrQueueFull as the cause of its Context. If it is MaxQueuedTotal that leaves no room, those
	// connections are closed that have the most queued, until an eighth of it is free. For what must not have gaps.
	CutSlow
)

// String returns the name of the constant.
func (p QueuePolicy) String() string {
	switch p {
	case DropNewest:
		return "DropNewest"
	case DropOldest:
		return "DropOldest"
	case CutSlow:
		return "CutSlow"
	}
	return fmt.Sprintf("QueuePolicy(%d)", uint8(p))
}

const (
	defaultMaxQueued      = 1 << 20
	defaultMaxQueuedTotal = 256 << 20

	// queuedCost is what a message in a queue counts besides its bytes: what it takes to keep it there, so that a million empty ones
	// are not free.
	queuedCost = 64
)

// queueLimits are those of a Server, with the defaults for what is not set.
type queueLimits struct {
	max       int
	policy    QueuePolicy
	high, low int
	pressure  func(*Conn, bool)
}

func (s *Server) queueLimits() (limits queueLimits, total int) {
	limits = queueLimits{max: s.MaxQueued, policy: s.QueuePolicy, high: s.HighWater, low: s.LowWater, pressure: s.OnPressure}
	if limits.max == 0 {
		limits.max = defaultMaxQueued
	}
	if limits.high == 0 {
		limits.high = limits.max / 4
	}
	if limits.low == 0 {
		limits.low = min(limits.max/16, limits.high)
	}
	if total = s.MaxQueuedTotal; total == 0 {
		total = max(defaultMaxQueuedTotal, 2*limits.max)
	}
	return limits, total
}

// validateQueues returns an error for each field of the queues that is wrong.
func (s *Server) validateQueues() (errs []error) {
	for _, field := range []struct {
		name  string
		value int
	}{{"MaxQueued", s.MaxQueued}, {"MaxQueuedTotal", s.MaxQueuedTotal}, {"HighWater", s.HighWater}, {"LowWater", s.LowWater}} {
		if field.value < 0 {
			errs = append(errs, fmt.Errorf("coserver: Server.%s is %d, want 0 or more", field.name, field.value))
		}
	}
	if s.QueuePolicy > CutSlow {
		errs = append(errs, fmt.Errorf("coserver: Server.QueuePolicy is %d, want DropNewest, DropOldest or CutSlow", s.QueuePolicy))
	}
	if len(errs) > 0 {
		return errs // the comparisons below would say nothing more
	}
	limits, total := s.queueLimits()
	if total < limits.max {
		errs = append(errs, fmt.Errorf("coserver: Server.MaxQueuedTotal is %d, want MaxQueued (%d) or more", total, limits.max))
	}
	if limits.high > limits.max {
		errs = append(errs, fmt.Errorf("coserver: Server.HighWater is %d, want up to MaxQueued (%d)", limits.high, limits.max))
	}
	if limits.low > limits.high {
		errs = append(errs, fmt.Errorf("coserver: Server.LowWater is %d, want up to HighWater (%d)", limits.low, limits.high))
	}
	return errs
}

// setQueues gives the run the limits of its server.
func (r *run) setQueues() {
	var total int
	r.queues, total = r.server.queueLimits()
	r.memory = memory{max: int64(total), used: &r.server.counters.queues.queued}
}

// memory is what the queues of a server's connections hold, in bytes: used is the server's and not the run's, for connections may
// outlive a Shutdown.
type memory struct {
	max  int64
	used *atomic.Int64
}

// take reports whether there are n bytes, which are the caller's then.
func (m *memory) take(n int64) bool {
	for {
		used := m.used.Load()
		if used+n > m.max {
			return false
		}
		if m.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (m *memory) give(n int64) { m.used.Add(-n) }

func (m *memory) free() int64 { return m.max - m.used.Load() }

// QueueStats are the counts of a [Server]'s queues ([Conn.Enqueue]), since it was made; Queued is that of now.
type QueueStats struct {
	// Queued is how many bytes the queues hold, as MaxQueuedTotal counts them.
	Queued int

	// Refused and RefusedTotal are how many messages were refused with ErrQueueFull, for want of room in the connection's queue
	// (MaxQueued) and in all queues together (MaxQueuedTotal).
	Refused, RefusedTotal uint64

	// Dropped is how many messages made room for later ones, with DropOldest.
	Dropped uint64

	// Lost is how many messages had not been sent whole when their connections ended, whatever ended them.
	Lost uint64

	// Cut is how many connections were closed because of their queues, with CutSlow, and TimedOut how many because a write deadline or
	// Server.WriteTimeout passed while something was queued.
	Cut, TimedOut uint64
}

// queueCounters are where QueueStats come from. What is sent as it should be is not counted.
type queueCounters struct {
	queued                                              atomic.Int64
	refused, refusedTotal, dropped, lost, cut, timedOut atomic.Uint64
}

func (n *queueCounters) stats() QueueStats {
	return QueueStats{
		Queued:  int(n.queued.Load()),
		Refused: n.refused.Load(), RefusedTotal: n.refusedTotal.Load(), Dropped: n.dropped.Load(), Lost: n.lost.Load(),
		Cut: n.cut.Load(), TimedOut: n.timedOut.Load(),
	}
}
