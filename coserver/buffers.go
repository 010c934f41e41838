package coserver

import "sync"

// bufferSize is what one read asks for, and so the longest message that ReadSlice takes.
const bufferSize = 64 << 10

// lent is memory for input, which a connection has for as long as it has unread input. There are about as many as there are
// processors, however many connections there are; besides, those that hold a message of which much has come.
type lent struct {
	bytes []byte
	class int
}

// lendGrowth is how much larger each class of lent memory is than the one before, and so how much more of it than has come a
// message may have.
const lendGrowth = 4

// lenders have lent memory of bufferSize, and for messages that are larger, of 256 KiB, 1 MiB and 4 MiB.
var lenders [4]sync.Pool

// lend returns memory of size bytes or more. It is not cleared.
func lend(size int) *lent {
	class, have := 0, bufferSize
	for have < size && class < len(lenders) {
		class, have = class+1, have*lendGrowth
	}
	if class == len(lenders) {
		return &lent{make([]byte, size), class} // nobody is to keep so much
	}
	if l, ok := lenders[class].Get().(*lent); ok {
		return l
	}
	if class == 0 {
		l := new(lentSmall)
		l.bytes = l.memory[:]
		return &l.lent
	}
	return &lent{make([]byte, have), class}
}

// lentSmall is a lent of the first class, in one piece.
type lentSmall struct {
	lent
	memory [bufferSize]byte
}

func (l *lent) giveBack() {
	if l.class < len(lenders) {
		lenders[l.class].Put(l)
	}
}

// gatherSize is how much output a handler gathers while it has unread input.
const gatherSize = 16 << 10

var gatherBuffers = sync.Pool{New: func() any { return new([gatherSize]byte) }}
