package coserver

import "sync"

// bufferSize is what one read asks for, and so the longest message that ReadSlice takes.
const bufferSize = 64 << 10

// buffers are lent to connections for as long as they have unread input. There are about as many as there are
// processors, however many connections there are.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// gatherSize is how much output a handler gathers while it has unread input.
const gatherSize = 16 << 10

var gatherBuffers = sync.Pool{New: func() any { return new([gatherSize]byte) }}
