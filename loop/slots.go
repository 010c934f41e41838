package loop

import "github.com/strand-net/strand/poller"

// watched is what a loop has a slot for: a socket or a listener.
type watched interface {
	dispatch(poller.Readiness)
	kill() // the engine is closing
}

// slots finds who is watched by a token. A token is a slot's number and, in its upper half, how often the slot has
// been given out: an event for an earlier tenant finds nobody. Loop goroutine only.
type slots struct {
	chunks []*slotChunk // a slot never moves: growing leaves no garbage behind
	count  uint32       // slots that have been given out
	free   []uint32
}

// slotChunk is as large as one of the runtime's size classes, to waste nothing.
type slotChunk [128]slot

type slot struct {
	watched    watched
	generation uint32
}

func (t *slots) at(index uint32) *slot {
	return &t.chunks[index/uint32(len(slotChunk{}))][index%uint32(len(slotChunk{}))]
}

func (t *slots) take(w watched) poller.Token {
	var index uint32
	if n := len(t.free); n > 0 {
		index = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		index = t.count
		t.count++
		if int(index) == len(t.chunks)*len(slotChunk{}) {
			t.chunks = append(t.chunks, new(slotChunk))
		}
	}
	s := t.at(index)
	s.watched = w
	return poller.Token(index) | poller.Token(s.generation)<<32
}

func (t *slots) find(token poller.Token) watched {
	index := uint32(token)
	if index >= t.count {
		return nil
	}
	if s := t.at(index); s.generation == uint32(token>>32) {
		return s.watched
	}
	return nil
}

// replace gives a slot another tenant, who is told of the events from now on.
func (t *slots) replace(token poller.Token, w watched) { t.at(uint32(token)).watched = w }

func (t *slots) release(token poller.Token) {
	s := t.at(uint32(token))
	s.watched = nil
	s.generation++
	t.free = append(t.free, uint32(token))
}

func (t *slots) each(do func(watched)) {
	for index := range t.count {
		if w := t.at(index).watched; w != nil {
			do(w)
		}
	}
}
