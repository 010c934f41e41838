package loop

import "time"

// A connection's ID is when it began, in microseconds since its engine did, times the number of loops, plus the index of its loop:
// so it costs one word, which also tells the connection's age. A loop gives none twice: one that begins in the same microsecond as
// another gets the next, which a loop could only run ahead with if it accepted a million connections a second.

// nextID returns the ID of a connection that begins. Loop goroutine only.
func (l *Loop) nextID() uint64 {
	l.lastBegin = max(l.lastBegin+1, (l.Now()-l.engine.began)/int64(time.Microsecond))
	return uint64(l.lastBegin)*uint64(len(l.engine.loops)) + uint64(l.index)
}

// ID returns a number that no other connection of the engine has had or will have. It is not 0. Safe from any goroutine.
func (s *Socket) ID() uint64 { return s.id }

// Age returns how long ago the connection began, to the microsecond: when it was accepted, or began to be dialled. Safe from any
// goroutine.
func (s *Socket) Age() time.Duration {
	e := s.loop.engine
	began := time.Duration(s.id/uint64(len(e.loops))) * time.Microsecond
	return max(0, time.Duration(s.loop.Now()-e.began)-began)
}
