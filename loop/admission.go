package loop

import "net/netip"

// Admission decides how many connections of a listener come in, and which. Its methods must not block.
type Admission interface {
	// Reserve is asked for room for one more connection, before it is accepted. 0 grants it. A positive answer is for how many
	// nanoseconds accepting rests before it asks again; with a negative one it rests until [Listener.Resume]. Clients wait in the
	// backlog meanwhile. On the goroutine of the listener's loop.
	Reserve() (rest int64)

	// Cancel gives back what Reserve has granted: nobody was there to be accepted. On the goroutine of the listener's loop.
	Cancel()

	// Admit is told who has come into the room that Reserve has granted. If it reports false, the connection is reset at once,
	// and the room is free again. On the goroutine of the listener's loop.
	Admit(peer netip.AddrPort) bool

	// Dismiss is told of a connection that was admitted and will not be opened after all, for the engine is closing. On any
	// goroutine.
	Dismiss(peer netip.AddrPort)

	// Starved is told that accepting rests for want of descriptors or memory. On the goroutine of the listener's loop.
	Starved()
}

// everybody is the Admission of a listener that has no other.
type everybody struct{}

func (everybody) Reserve() int64            { return 0 }
func (everybody) Cancel()                   {}
func (everybody) Admit(netip.AddrPort) bool { return true }
func (everybody) Dismiss(netip.AddrPort)    {}
func (everybody) Starved()                  {}
