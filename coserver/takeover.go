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

// Stats are counts since an engine began.
type Stats struct {
	// TakeOvers is how many times a handler has blocked or computed for so long that its loop went on without it.
	TakeOvers uint64

	// Apart is how many times a server whose Carrier is Auto has begun to run all its handlers on goroutines, because they do so
	// again and again.
	Apart uint64
}

// Stats returns the counts of e.
func (e *Engine) Stats() Stats { return Stats{TakeOvers: e.takeOvers.Load(), Apart: e.apart.Load()} }
