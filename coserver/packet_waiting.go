package coserver

import "sync"

// packetQueue holds the datagrams that wait for a session, oldest first.
type packetQueue struct {
	items []packet
	head  int
}

// packet is one of them: a copy, in a buffer that may be larger.
type packet struct{ data []byte }

// packetCost is what a datagram counts besides its buffer.
const packetCost = 64

// smallestWaitingTotal is the least MaxWaitingTotal: one datagram of any size.
const smallestWaitingTotal = 64<<10 + packetCost

// Buffers come in three sizes. Those of the largest are not kept: who sends such datagrams pays for them.
const (
	smallPacket  = 256
	mediumPacket = 2048
)

var smallPackets = sync.Pool{New: func() any { return new([smallPacket]byte) }}
var mediumPackets = sync.Pool{New: func() any { return new([mediumPacket]byte) }}

// bufferFor is the size of the buffer for so many bytes.
func bufferFor(size int) int {
	switch {
	case size <= smallPacket:
		return smallPacket
	case size <= mediumPacket:
		return mediumPacket
	}
	return size
}

func newPacket(data []byte) packet {
	switch bufferFor(len(data)) {
	case smallPacket:
		buffer := smallPackets.Get().(*[smallPacket]byte)
		return packet{buffer[:copy(buffer[:], data)]}
	case mediumPacket:
		buffer := mediumPackets.Get().(*[mediumPacket]byte)
		return packet{buffer[:copy(buffer[:], data)]}
	}
	return packet{append(make([]byte, 0, len(data)), data...)}
}

// cost is what it counts of MaxWaitingTotal.
func (p packet) cost() int64 { return int64(bufferFor(len(p.data)) + packetCost) }

// free gives the buffer back.
func (p packet) free() {
	switch bufferFor(len(p.data)) {
	case smallPacket:
		smallPackets.Put((*[smallPacket]byte)(p.data[:smallPacket]))
	case mediumPacket:
		mediumPackets.Put((*[mediumPacket]byte)(p.data[:mediumPacket]))
	}
}

func (q *packetQueue) len() int { return len(q.items) - q.head }

// push adds a copy of data, if r has the memory.
func (q *packetQueue) push(data []byte, r *packetRun) bool {
	if !r.memory.take(int64(bufferFor(len(data)) + packetCost)) {
		return false
	}
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, newPacket(data))
	return true
}

// pop takes the oldest out. The caller frees it.
func (q *packetQueue) pop(r *packetRun) packet {
	p := q.items[q.head]
	q.items[q.head] = packet{}
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	r.memory.give(p.cost())
	return p
}

// drop empties it, and counts what is lost.
func (q *packetQueue) drop(r *packetRun) {
	for q.len() > 0 {
		q.pop(r).free()
		r.server.counters.dropped.closed.Add(1)
	}
	q.items = nil
}
