package coserver

// takeOver ends a visit from outside: the loop goes on with a goroutine of the pool, and the handler by itself, until it waits
// again. What it has gathered goes out now, for nobody knows when it will come to send it.
func (e *Engine) takeOver(r *reactor, visit uint64, computes bool) {
	t := r.running.Load() // since before the visit, which goes on if Depose says so
	if t.conn != nil {
		extra := t.conn.extras() // before the handler can find that it was
		extra.takenOver.Store(r.loop.Now())
		if computes {
			extra.computes.Store(perhapsComputes)
		} else {
			extra.computes.Store(0)
		}
	}
	if !r.loop.Depose(visit, e.goOn) {
		return
	}
	e.takeOvers.Add(1)
	if t.conn != nil {
		e.away.Add(1)
	}
	strays.add(t)
	if t.conn != nil {
		t.conn.sendFor()
	}
}

// goOn runs do on a goroutine: of the pool, or if that is exhausted, for a loop must not stand still, on one of its own.
func (e *Engine) goOn(do func()) {
	if e.spawn(do) != nil {
		go do()
	}
}
