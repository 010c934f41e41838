package coserver

import (
	"fmt"
	"time"

	"github.com/strand-net/strand/loop"
)

// ConnStats are what there is to know of a [Conn] at a moment.
type ConnStats struct {
	ID  uint64
	Age time.Duration

	// CarriedBy is what runs its handler.
	CarriedBy CarriedBy
	// Reads and Writes say that a call waits for something to read, or for room to write, the queue included. A handler that does neither, on a
	// connection on which nobody else does, computes or waits for something else.
	Reads, Writes bool

	// Received is how many bytes have come from the peer, read or not, and Sent how many have been written, of which Unacked are still
	// to be acknowledged. The kernel counts them (TCP_INFO, tcp(7); Linux 4.19 or later), so they are those on the wire, which with TLS are
	// more. Received is one more once both ends have sent their last. They are 0 for a unix socket, and after Close.
	Received, Sent, Unacked uint64
	// Retransmitted is how many bytes were sent more than once, for those got lost or late.
	Retransmitted uint64
	// RTT is the round-trip time, smoothed, and RTTVar by how much it varies (RFC 6298).
	RTT, RTTVar time.Duration

	// Queued is how many bytes the queue of Enqueue holds, as Server.MaxQueued counts them.
	Queued int
	// Refused is how many messages Enqueue has refused with ErrQueueFull, and Dropped how many have made room for later ones (DropOldest).
	Refused, Dropped uint64
}

// CarriedBy says what runs a handler at the moment.
type CarriedBy uint8

const (
	// Nobody: the connection has no handler, or that has returned.
	Nobody CarriedBy = iota
	// Loop: it is a coroutine of its loop.
	Loop
	// Apart: it is a coroutine, on a goroutine of its own: its loop has gone on without it, or such is its habit (Auto).
	Apart
	// Goroutine: it is a goroutine.
	Goroutine
)

// String returns the name of the constant, in lower case.
func (b CarriedBy) String() string {
	switch b {
	case Nobody:
		return "nobody"
	case Loop:
		return "loop"
	case Apart:
		return "apart"
	case Goroutine:
		return "goroutine"
	}
	return fmt.Sprintf("CarriedBy(%d)", uint8(b))
}

// Stats returns what there is to know of c. It makes one system call. Nothing in it is counted for its sake, so it is not all of
// the same moment. Safe from any goroutine.
func (c *Conn) Stats() ConnStats {
	info, _ := c.sock.Info() // what is closed, or none of TCP, has none
	queue := c.queueStats()
	return ConnStats{
		ID: c.ID(), Age: c.Age(), CarriedBy: c.carriedBy(),
		Reads: c.sock.Waited(loop.ReadSide), Writes: c.sock.Waited(loop.WriteSide),
		Received: info.Received, Sent: info.Sent, Unacked: info.Unacked, Retransmitted: info.Retransmitted, RTT: info.RTT, RTTVar: info.RTTVar,
		Queued: queue.size, Refused: queue.refused, Dropped: queue.dropped,
	}
}

// carriedBy is a good guess: what it looks at may change meanwhile.
func (c *Conn) carriedBy() CarriedBy {
	if c.unserved {
		return Nobody
	}
	r := &c.run.engine.reactors[c.sock.Loop().Index()]
	switch c.task.state.Load() {
	case taskEnded:
		return Nobody
	case taskGoroutine:
		return Goroutine
	case taskParked:
		return Loop
	}
	if r.running.Load() == &c.task && r.loop.Visiting() != 0 {
		return Loop
	}
	return Apart
}
