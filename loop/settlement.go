package loop

import "sync/atomic"

// settlement counts what keeps the connections of a listener from being known to all: that it accepts, and each that has been accepted
// and is on its way to its loop.
type settlement struct {
	left    atomic.Int64
	settled chan struct{} // closed when there is nothing left
}

// newSettlement is for so many listening sockets, each of which ends once.
func newSettlement(sockets int) *settlement {
	s := &settlement{settled: make(chan struct{})}
	s.left.Store(int64(sockets))
	return s
}

func (s *settlement) begin() { s.left.Add(1) }

func (s *settlement) end() {
	if s.left.Add(-1) == 0 {
		close(s.settled)
	}
}
