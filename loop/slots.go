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
	all  []slot
	free []uint32
}

type slot struct {
	watched    watched
	generation uint32
}

func (t *slots) take(w watched) poller.Token {
	var index uint32
	if n := len(t.free); n > 0 {
		index = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		index = uint32(len(t.all))
		t.all = append(t.all, slot{})
	}
	t.all[index].watched = w
	return poller.Token(index) | poller.Token(t.all[index].generation)<<32
}

func (t *slots) find(token poller.Token) watched {
	index := uint32(token)
	if int(index) >= len(t.all) || t.all[index].generation != uint32(token>>32) {
		return nil
	}
	return t.all[index].watched
}

// replace gives a slot another tenant, who is told of the events from now on.
func (t *slots) replace(token poller.Token, w watched) { t.all[uint32(token)].watched = w }

func (t *slots) release(token poller.Token) {
	index := uint32(token)
	t.all[index].watched = nil
	t.all[index].generation++
	t.free = append(t.free, index)
}

func (t *slots) each(do func(watched)) {
	for i := range t.all {
		if w := t.all[i].watched; w != nil {
			do(w)
		}
	}
}
