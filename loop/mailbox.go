package loop

import (
	"sync"
	"sync/atomic"
)

// mailbox takes work for a loop from any goroutine, in order.
type mailbox struct {
	mu     sync.Mutex
	posted []Runner
	closed bool

	// The two flags answer each other: post sets pending and then reads asleep, the loop sets asleep and then reads
	// pending. So either the loop sees the work or the poster sees that it must wake it.
	pending atomic.Bool // posted is not empty
	asleep  atomic.Bool // the loop waits, or is about to
}

// post adds r. It reports whether the caller must wake the loop, and whether r was taken.
func (m *mailbox) post(r Runner) (wake, ok bool) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false, false
	}
	m.posted = append(m.posted, r)
	m.pending.Store(true)
	m.mu.Unlock()
	return m.asleep.Load(), true
}

// drain moves all that was posted to q. Loop goroutine only.
func (m *mailbox) drain(q *queue) {
	if !m.pending.Load() {
		return
	}
	m.mu.Lock()
	q.items = append(q.items, m.posted...)
	clear(m.posted)
	m.posted = shrink(m.posted[:0])
	m.pending.Store(false)
	m.mu.Unlock()
}

// len returns how much work is there. Safe from any goroutine.
func (m *mailbox) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.posted)
}

// sleep announces that the loop is about to wait, and reports whether it may: nothing has been posted. Loop
// goroutine only.
func (m *mailbox) sleep() bool {
	m.asleep.Store(true)
	return !m.pending.Load()
}

// awake ends what sleep announced. Loop goroutine only.
func (m *mailbox) awake() {
	if m.asleep.Load() {
		m.asleep.Store(false)
	}
}

// close ends the mailbox, and reports whether it could: it is empty.
func (m *mailbox) close() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = len(m.posted) == 0
	return m.closed
}

// queue holds work of one loop. A turn runs what is there when it begins; what is pushed meanwhile is for the next.
type queue struct {
	items []Runner
	head  int // the next to run
	end   int // where this turn's share ends
}

func (q *queue) push(r Runner) { q.items = append(q.items, r) }

func (q *queue) any() bool { return len(q.items) > 0 }

// begin starts a turn.
func (q *queue) begin() { q.end = len(q.items) }

// next takes the next item of this turn, or returns nil when the turn is over.
func (q *queue) next() Runner {
	if q.head == q.end {
		if q.head > 0 {
			rest := copy(q.items, q.items[q.head:])
			clear(q.items[rest:])
			q.items = shrink(q.items[:rest])
			q.head, q.end = 0, 0
		}
		return nil
	}
	r := q.items[q.head]
	q.head++
	return r
}

// keepCapacity is how much room an emptied queue keeps: a burst must not hold its memory for ever.
const keepCapacity = 1024

func shrink(items []Runner) []Runner {
	if len(items) == 0 && cap(items) > keepCapacity {
		return nil
	}
	return items
}
