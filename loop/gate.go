package loop

import "sync/atomic"

// gate remembers the readiness of one direction of a socket, and whether somebody waits for it.
//
//	        arm                       open
//	shut ─────────▶ waited     shut ─────────▶ ready
//	shut ◀───────── waited     shut ◀───────── ready
//	      open, claim                  take
//
// Whoever takes it from waited to shut has to wake the one that waits; so there is exactly one wake-up for each
// arm. take comes before the system call that might drain the socket: an edge that arrives during the
// call opens the gate again and is not lost.
type gate struct{ state atomic.Uint32 }

const (
	gateShut uint32 = iota
	gateReady
	gateWaited
)

// open says that the direction is ready. It reports whether the caller must wake the one that waits.
func (g *gate) open() (wake bool) {
	for {
		switch g.state.Load() {
		case gateReady:
			return false
		case gateShut:
			if g.state.CompareAndSwap(gateShut, gateReady) {
				return false
			}
		default:
			if g.state.CompareAndSwap(gateWaited, gateShut) {
				return true
			}
		}
	}
}

// take reports whether the direction was ready, and shuts the gate.
func (g *gate) take() bool {
	return g.state.Load() == gateReady && g.state.CompareAndSwap(gateReady, gateShut)
}

// arm announces that the caller waits. It reports false if there is no need to: the gate is ready.
func (g *gate) arm() bool { return g.state.CompareAndSwap(gateShut, gateWaited) }

// claim ends a wait for another reason than readiness. It reports whether the caller must wake the one that waits.
func (g *gate) claim() bool { return g.state.CompareAndSwap(gateWaited, gateShut) }
