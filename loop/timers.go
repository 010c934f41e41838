package loop

// Timer is a Runner that a loop runs once at a time. The zero value is ready to use. Loop goroutine only.
type Timer struct {
	when  int64 // the loop's clock, nanoseconds
	run   Runner
	place int // in the heap, counted from 1; 0: not set
}

// timers is a binary heap, the earliest first.
type timers struct{ heap []*Timer }

// SetTimer runs r on the loop's goroutine at a time of its clock ([Loop.Now]), or a little later when the loop is busy. It
// replaces what the timer was set to. Loop goroutine only.
func (l *Loop) SetTimer(t *Timer, when int64, r Runner) {
	l.StopTimer(t)
	t.when, t.run = when, r
	l.timers.heap = append(l.timers.heap, t)
	t.place = len(l.timers.heap)
	l.timers.up(t.place)
}

// StopTimer makes sure that t does not run any more. Loop goroutine only.
func (l *Loop) StopTimer(t *Timer) {
	if t.place != 0 {
		l.timers.remove(t.place)
	}
}

func (h *timers) any() bool { return len(h.heap) > 0 }

// next is when the earliest timer is due.
func (h *timers) next() (when int64, ok bool) {
	if len(h.heap) == 0 {
		return 0, false
	}
	return h.heap[0].when, true
}

// due takes out the earliest timer and returns its work, or nil if it lies after now.
func (h *timers) due(now int64) Runner {
	if len(h.heap) == 0 || h.heap[0].when > now {
		return nil
	}
	t := h.heap[0]
	h.remove(1)
	r := t.run
	t.run = nil
	return r
}

func (h *timers) remove(place int) {
	last := len(h.heap)
	h.heap[place-1].place = 0
	moved := h.heap[last-1]
	h.heap[last-1] = nil
	h.heap = h.heap[:last-1]
	if place == last {
		return
	}
	h.put(place, moved)
	h.down(place)
	h.up(moved.place)
}

func (h *timers) put(place int, t *Timer) {
	h.heap[place-1] = t
	t.place = place
}

func (h *timers) up(place int) {
	t := h.heap[place-1]
	for place > 1 && t.when < h.heap[place/2-1].when {
		h.put(place, h.heap[place/2-1])
		place /= 2
	}
	h.put(place, t)
}

func (h *timers) down(place int) {
	t := h.heap[place-1]
	for 2*place <= len(h.heap) {
		child := 2 * place
		if child < len(h.heap) && h.heap[child].when < h.heap[child-1].when {
			child++
		}
		if h.heap[child-1].when >= t.when {
			break
		}
		h.put(place, h.heap[child-1])
		place = child
	}
	h.put(place, t)
}
