package loop

import "sync/atomic"

// Turn is the answer to a request for the turn of a side.
type Turn uint8

const (
	// TurnTaken: the caller has the turn, and must release it.
	TurnTaken Turn = iota
	// TurnBusy: somebody else has it.
	TurnBusy
	// TurnClosed: the socket is closed; there are no more turns.
	TurnClosed
)

// turns guards a socket's descriptor. One word holds who has a turn, whether others are queued for it, how many short
// calls are under way, and whether the socket is closed. The change that leaves it closed and unused is the last: whoever
// makes it closes the descriptor.
type turns struct{ word atomic.Uint32 }

const (
	turnsClosed uint32 = 1 << 0
	turnsEnter  uint32 = 1 << 8 // a call under way; counted in the upper three bytes
	turnsInUse         = ^uint32(0xff) | 1<<1 | 1<<2
)

func heldBit(side Side) uint32   { return 1 << (1 + side) }
func queuedBit(side Side) uint32 { return 1 << (3 + side) }

func isLast(word uint32) bool { return word&turnsClosed != 0 && word&turnsInUse == 0 }

func (t *turns) acquire(side Side, queue bool) Turn {
	for {
		old := t.word.Load()
		switch {
		case old&turnsClosed != 0:
			return TurnClosed
		case old&heldBit(side) == 0:
			if t.word.CompareAndSwap(old, old|heldBit(side)) {
				return TurnTaken
			}
		case !queue || t.word.CompareAndSwap(old, old|queuedBit(side)):
			return TurnBusy
		}
	}
}

func (t *turns) release(side Side) (queued, last bool) {
	for {
		old := t.word.Load()
		if old&queuedBit(side) != 0 {
			return true, false
		}
		if t.word.CompareAndSwap(old, old&^heldBit(side)) {
			return false, isLast(old &^ heldBit(side))
		}
	}
}

func (t *turns) dequeued(side Side) { t.word.And(^queuedBit(side)) }

func (t *turns) closed() bool { return t.word.Load()&turnsClosed != 0 }

func (t *turns) close() (first, last bool) {
	old := t.word.Or(turnsClosed)
	return old&turnsClosed == 0, old&turnsClosed == 0 && isLast(old|turnsClosed)
}

// enter begins a short call that needs no turn. It reports false if the socket is closed.
func (t *turns) enter() bool {
	for {
		old := t.word.Load()
		if old&turnsClosed != 0 {
			return false
		}
		if t.word.CompareAndSwap(old, old+turnsEnter) {
			return true
		}
	}
}

// stay is enter for who has a turn, which also a closed socket lets go on.
func (t *turns) stay() { t.word.Add(turnsEnter) }

// leave ends a call that enter or stay began, and reports whether it was the last.
func (t *turns) leave() (last bool) {
	return isLast(t.word.Add(^(turnsEnter - 1)))
}
