package loop

import "sync/atomic"

// A loop's goroutine visits code that may not come back soon: a handler. While it does, somebody who watches may depose it:
// the visit is over for the loop, and another goroutine goes on with the iteration where it stood, for all that the
// iteration has in hand is in the Loop. The one that comes back finds that it has been deposed, and may not touch the loop any
// more.
//
//	        Enter                 Leave
//	at home ─────▶ visiting n ───────────▶ at home
//	                │   ▲   │
//	            Pin │   │   │ Depose
//	                ▼   │   ▼
//	             pinned n   at home, and its goroutine is another
//
// Leave, Pin and Depose are one CAS on the same word; so exactly one of Leave and Depose ends a visit, and who is visited may
// touch what belongs to the loop while it is pinned. A visit has a number, from 1; 0 stands for none.
type visit struct {
	word atomic.Uint64 // number of the visit, shifted left, and the pin; 0 at home
	last uint64        // number of the latest visit; loop goroutine only
}

const visitPinned = 1

// carrier is a goroutine that runs a loop, or did.
type carrier struct{ deposed bool }

// Visit is one visit, as the goroutine that pays it knows it.
type Visit struct {
	Number  uint64
	carrier *carrier
}

// Enter begins a visit. Loop goroutine only.
func (l *Loop) Enter() Visit {
	l.visit.last++
	v := Visit{l.visit.last, l.carrier}
	l.visit.word.Store(v.Number << 1) // from here on the loop may be another's
	return v
}

// Leave ends a visit, on the goroutine that has begun it. It reports false if that has been deposed: then it is not the loop's
// goroutine any more, and must end without touching the loop (runtime.Goexit).
func (l *Loop) Leave(v Visit) bool {
	if l.visit.word.CompareAndSwap(v.Number<<1, 0) {
		return true
	}
	v.carrier.deposed = true
	return false
}

// Visiting returns the number of the visit in progress, or 0. Safe from any goroutine.
func (l *Loop) Visiting() uint64 { return l.visit.word.Load() >> 1 }

// Visited reports whether a visit goes on. Only who is visited may rely on the answer, and only on a negative one.
func (l *Loop) Visited(visit uint64) bool { return visit != 0 && l.visit.word.Load()>>1 == visit }

// Pin makes sure that the visit goes on until Unpin, so that who is visited may do what only the loop's goroutine may. It
// reports false if there is no such visit any more.
func (l *Loop) Pin(visit uint64) bool {
	return visit != 0 && l.visit.word.CompareAndSwap(visit<<1, visit<<1|visitPinned)
}

// Unpin ends Pin.
func (l *Loop) Unpin(visit uint64) { l.visit.word.Store(visit << 1) }

// Depose ends a visit from outside, or from the code that is visited: spawn runs the loop on another goroutine from now on. It
// reports false if the visit is over or pinned. Safe from any goroutine.
func (l *Loop) Depose(visit uint64, spawn func(func())) bool {
	if visit == 0 || !l.visit.word.CompareAndSwap(visit<<1, 0) {
		return false
	}
	spawn(l.run)
	return true
}
