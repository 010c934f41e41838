package coserver

import "sync/atomic"

// PacketStats are the counts of a [PacketServer], since it was made; Active and Waiting are those of now.
type PacketStats struct {
	// Opened is how many sessions there were, and Active how many there are.
	Opened uint64
	Active int

	// Waiting is how many bytes wait for sessions that do not read, as MaxWaitingTotal counts them.
	Waiting int

	Dropped DroppedPackets

	// Idle is how many sessions were closed by IdleTimeout, and Cut how many by the policy CutSlow.
	Idle, Cut uint64

	// SendErrors is how many datagrams the kernel did not take, and ReceiveErrors how often it had something to tell of one that was sent
	// before (ICMP, RFC 1122, 4.1.3.3). Neither ends anything: the next Write of the session fails with the first.
	SendErrors, ReceiveErrors uint64

	// HandlerErrors is how many handlers have returned an error that was reported, and Panics how many have panicked or ended their goroutine.
	HandlerErrors, Panics uint64
}

// DroppedPackets are the datagrams that were received and not read, or written and not sent, by reason. What the kernel drops for want of
// room in its own buffers is not among them.
type DroppedPackets struct {
	MaxSessions     uint64 // they would have begun a session
	MaxWaiting      uint64 // with DropNewest and CutSlow they came, with DropOldest they had waited longest
	MaxWaitingTotal uint64
	MaxGoroutines   uint64 // sessions, in fact: EngineConfig.MaxGoroutines
	Closed          uint64 // they waited when the session, or the server, was closed
	Shutdown        uint64 // they came as the server ended
}

// packetCounters are where PacketStats come from. Nothing counts datagrams that fare well.
type packetCounters struct {
	opened  atomic.Uint64
	active  atomic.Int64
	waiting atomic.Int64
	dropped struct{ maxSessions, maxWaiting, maxWaitingTotal, maxGoroutines, closed, shutdown atomic.Uint64 }

	idle, cut, sendErrors, receiveErrors, handlerErrors, panics atomic.Uint64
}

// Stats returns the counts of s. Each is exact, but they are not of one moment. Safe from any goroutine.
func (s *PacketServer) Stats() PacketStats {
	n := &s.counters
	return PacketStats{
		Opened: n.opened.Load(), Active: int(n.active.Load()), Waiting: int(n.waiting.Load()),
		Dropped: DroppedPackets{
			MaxSessions: n.dropped.maxSessions.Load(), MaxWaiting: n.dropped.maxWaiting.Load(), MaxWaitingTotal: n.dropped.maxWaitingTotal.Load(),
			MaxGoroutines: n.dropped.maxGoroutines.Load(), Closed: n.dropped.closed.Load(), Shutdown: n.dropped.shutdown.Load(),
		},
		Idle: n.idle.Load(), Cut: n.cut.Load(),
		SendErrors: n.sendErrors.Load(), ReceiveErrors: n.receiveErrors.Load(),
		HandlerErrors: n.handlerErrors.Load(), Panics: n.panics.Load(),
	}
}
