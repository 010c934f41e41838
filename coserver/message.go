package coserver

import (
	"bytes"
	"iter"
	"sync"
	"sync/atomic"
)

// Message is bytes that are sent to many connections and kept once, however many of them have it queued: encoded once, copied once.
// It does not change, and may be enqueued as often as one likes, on connections of any server. Safe from any goroutine.
type Message struct {
	data []byte

	mu     sync.Mutex
	stakes atomic.Pointer[[]*stake] // changed with mu held
}

// NewMessage returns a Message with a copy of p.
func NewMessage(p []byte) *Message { return &Message{data: bytes.Clone(p)} }

// EnqueueMessage is Enqueue for a Message: it is not copied, and counts once for all connections of a server in MaxQueuedTotal.
func (c *Conn) EnqueueMessage(m *Message) error { return c.enqueue(m.data, m) }

// Broadcast enqueues p, copied once, on each connection, on those of [Server.Conns] say, and returns how many have taken it. It waits for none. Whoever wants
// to know which have not, and why, makes a [Message] and calls [Conn.EnqueueMessage] on each.
func Broadcast(conns iter.Seq[*Conn], p []byte) (taken int) {
	m := NewMessage(p)
	for c := range conns {
		if c.EnqueueMessage(m) == nil {
			taken++
		}
	}
	return taken
}

// stake is what a Message counts in one run: once, from the first connection that has it queued to the last.
type stake struct {
	run  *run
	size int64
	refs atomic.Int64
	mu   sync.Mutex // held to count it
}

// stakeIn returns the Message's stake in r. Stakes that nobody refers to may be replaced by others; they are no less exact then.
func (m *Message) stakeIn(r *run) *stake {
	if s := m.findStake(r); s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.findStake(r); s != nil {
		return s
	}
	s := &stake{run: r, size: int64(len(m.data))}
	stakes := []*stake{s}
	if old := m.stakes.Load(); old != nil {
		for _, other := range *old {
			if other.refs.Load() > 0 { // a Message may live longer than servers
				stakes = append(stakes, other)
			}
		}
	}
	m.stakes.Store(&stakes)
	return s
}

func (m *Message) findStake(r *run) *stake {
	if stakes := m.stakes.Load(); stakes != nil {
		for _, s := range *stakes {
			if s.run == r {
				return s
			}
		}
	}
	return nil
}

// take refers to the stake once more. It reports false if there is no memory for it.
func (s *stake) take() bool {
	for {
		if n := s.refs.Load(); n > 0 {
			if s.refs.CompareAndSwap(n, n+1) {
				return true
			}
			continue
		}
		if taken, first := s.takeFirst(); first {
			return taken
		}
	}
}

// takeFirst refers to the stake if nobody does. It reports whether that was so, and whether there was memory.
func (s *stake) takeFirst() (taken, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs.Load() > 0 {
		return false, false
	}
	if !s.run.memory.take(s.size) {
		return false, true
	}
	s.refs.Store(1) // whoever gives it back waits for nobody, but there is nobody
	return true, true
}

// give ends one take.
func (s *stake) give() {
	if s.refs.Add(-1) == 0 {
		s.run.memory.give(s.size)
	}
}
