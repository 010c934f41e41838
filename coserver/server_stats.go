package coserver

import "sync/atomic"

// ServerStats are the counts of a [Server], since it was made; Active is that of now.
type ServerStats struct {
	// Accepted is how many connections have been let in, to be served: those of Refused.MaxGoroutines are among them, the other
	// refused ones are not.
	Accepted uint64
	// Active is how many of them are being served: their handlers have not returned, or something that was enqueued is being sent still.
	Active int

	Refused  RefusedStats
	Paused   PausedStats
	TimedOut TimedOutStats
	Queues   QueueStats

	// HandshakeErrors is how many handshakes have failed, in time or not.
	HandshakeErrors uint64
	// HandlerErrors is how many handlers have returned an error that was reported.
	HandlerErrors uint64
	// Panics is how many have panicked or ended their goroutine, calls of OnPressure included.
	Panics uint64
}

// RefusedStats are the connections that were closed without being served, by reason.
type RefusedStats struct {
	MaxConns      uint64 // Server.MaxConns, with Overflow Refuse
	MaxConnsPerIP uint64 // Server.MaxConnsPerIP
	MaxGoroutines uint64 // EngineConfig.MaxGoroutines
	Shutdown      uint64 // they came as the server ended
	Unwatched     uint64 // the kernel refused to watch them (epoll_ctl(2))
}

// PausedStats is how often accepting has come to rest, by reason. Clients waited in the backlog.
type PausedStats struct {
	MaxConns   uint64 // Server.MaxConns, with Overflow Backlog
	AcceptRate uint64 // Server.AcceptRate

	// Descriptors is for want of descriptors or memory (EMFILE, ENFILE, ENOMEM, ENOBUFS).
	Descriptors uint64
}

// TimedOutStats are the waits that have taken too long, by limit.
type TimedOutStats struct {
	Idle      uint64 // Server.IdleTimeout
	Read      uint64 // Server.ReadTimeout
	Write     uint64 // Server.WriteTimeout
	Handshake uint64 // Server.HandshakeTimeout
}

// counters are where ServerStats come from. Nothing counts messages.
type counters struct {
	accepted atomic.Uint64
	active   atomic.Int64
	refused  struct{ maxConns, maxConnsPerIP, maxGoroutines, shutdown, unwatched atomic.Uint64 }
	paused   struct{ maxConns, acceptRate, descriptors atomic.Uint64 }
	timedOut struct{ idle, read, write, handshake atomic.Uint64 }
	queues   queueCounters

	handshakeErrors, handlerErrors, panics atomic.Uint64
}

// Stats returns the counts of s. Each is exact, but they are not of one moment. Safe from any goroutine.
func (s *Server) Stats() ServerStats {
	n := &s.counters
	return ServerStats{
		Accepted: n.accepted.Load(),
		Active:   int(n.active.Load()),
		Refused: RefusedStats{
			MaxConns: n.refused.maxConns.Load(), MaxConnsPerIP: n.refused.maxConnsPerIP.Load(), MaxGoroutines: n.refused.maxGoroutines.Load(),
			Shutdown: n.refused.shutdown.Load(), Unwatched: n.refused.unwatched.Load(),
		},
		Paused: PausedStats{MaxConns: n.paused.maxConns.Load(), AcceptRate: n.paused.acceptRate.Load(), Descriptors: n.paused.descriptors.Load()},
		TimedOut: TimedOutStats{
			Idle: n.timedOut.idle.Load(), Read: n.timedOut.read.Load(), Write: n.timedOut.write.Load(), Handshake: n.timedOut.handshake.Load(),
		},
		Queues:          n.queues.stats(),
		HandshakeErrors: n.handshakeErrors.Load(), HandlerErrors: n.handlerErrors.Load(), Panics: n.panics.Load(),
	}
}
