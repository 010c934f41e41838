package coserver

import (
	"log/slog"
	"net/netip"
	"unsafe"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/sys"
)

// NewEngineOn returns an engine of one loop on a kernel of the test's.
func NewEngineOn(kernel sys.Kernel) (*Engine, error) {
	return newEngine(EngineConfig{MaxGoroutines: 1000, TakeOverAfter: -1}, loop.Config{Loops: 1, Kernel: kernel, Logger: slog.New(slog.DiscardHandler)})
}

// NewEngineWith is NewEngine with a configuration of its loops.
var NewEngineWith = newEngine

// MonitorSleeps reports whether nobody looks after an engine's loops, for there is nothing to see.
func MonitorSleeps(e *Engine) bool { return e.monitor.asleep.Load() }

// CountedIP is the address under which a server counts a peer for MaxConnsPerIP.
func CountedIP(peer netip.AddrPort) netip.Addr { return (&limits{perIP: 1}).counted(peer) }

// Admitted returns how many places a server has given away, and to how many addresses.
func Admitted(s *Server) (conns, addresses int) {
	s.admission.mu.Lock()
	defer s.admission.mu.Unlock()
	return s.admission.conns, len(s.admission.perIP)
}

// Handshakes returns how many handshakes of a server are under way, and how many wait for their turn.
func Handshakes(s *Server) (busy, waiting int) {
	s.handshakes.mu.Lock()
	defer s.handshakes.mu.Unlock()
	return s.handshakes.busy, len(s.handshakes.waiting)
}

// LoopOf returns loop i of an engine.
func LoopOf(e *Engine, i int) *loop.Loop { return e.loops.Loop(i) }

// Carried tells how the handler of c, which must be the caller, runs at the moment: "goroutine" if no loop may ever carry it,
// "inline" if its loop does, "apart" if the loop goes on without it.
func Carried(c *Conn) string {
	switch {
	case !c.task.isCoroutine():
		return "goroutine"
	case c.task.onLoop():
		return "inline"
	}
	return "apart"
}

// InLine returns how many calls, and stretches of a queue, stand in line for a turn of c.
func InLine(c *Conn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.line())
}

// HasQueue reports whether c has a queue at the moment.
func HasQueue(c *Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue() != nil
}

// QueueMemory returns what the queues of c and of the other connections of its server's hold, in bytes.
func QueueMemory(c *Conn) int64 { return c.run.memory.used.Load() }

// QueueWaits reports whether the queue of c waits for room.
func QueueWaits(c *Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.queue()
	return o != nil && o.armed
}

// Writing reports whether somebody has the turn of the write side of c.
func Writing(c *Conn) bool {
	if c.sock.Acquire(loop.WriteSide) != loop.TurnTaken {
		return true
	}
	c.unlock(loop.WriteSide)
	return false
}

// SizeOfConn is what an idle connection takes, but for its task's stack.
const SizeOfConn = unsafe.Sizeof(Conn{})

// Lane is the lane of handlers that compute.
type Lane struct{ lane }

// Enter returns how to leave.
func (l *Lane) Enter(now func() int64) (leave func()) {
	p := l.enter(now)
	return func() { l.leave(p, now()) }
}

// Expire takes back the places whose time is over.
func (l *Lane) Expire(now int64) (held bool) { return l.expire(now) }

// PlaceTime is how long a place may be held.
const PlaceTime = placeTime

// GoOn has an engine run do, as it does to carry on with a loop.
func GoOn(e *Engine, do func()) { e.goOn(do) }

// Begun reports whether c has unread input.
func Begun(c *Conn) bool { return c.input.begun.Load() }

// PacketLoop is the index of the loop that a session is at.
func PacketLoop(s *PacketSession) int { return s.port.reactor.loop.Index() }

// PacketReaders is how many calls wait for a datagram of s.
func PacketReaders(s *PacketSession) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.readers)
}

// PacketWriters is how many calls of s wait for room, or are about to.
func PacketWriters(s *PacketSession) int { return int(s.writing.Load()) }

// CanInline says whether handlers may run on their loops.
const CanInline = canInline

// LeftPacketSessions is how many sessions the sockets of s know.
func LeftPacketSessions(s *PacketServer) (count int) {
	for _, p := range s.current().snapshot() {
		p.each(func(*PacketSession) { count++ })
	}
	return count
}
