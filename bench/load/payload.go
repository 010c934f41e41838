package load

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
)

// A message is [header of its framing] stamp body [newline]. The stamp says who sent it, the how manieth it is and when it was planned, and has a
// checksum over these and the body: all that a receiver needs to find out what was lost, came twice, in another order or damaged. In lines
// it is written in hexadecimal digits. A message that has no room for a stamp is body alone, and differs from connection to connection
// and from message to message.
const (
	lengthHeader = 4
	stampSize    = 20
	stampHex     = 2 * stampSize
	maxHead      = stampHex
)

// stamp is what a message says of itself.
type stamp struct {
	conn    uint32
	seq     uint32
	planned int64 // ns on the clock of the machine that does not jump
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// message is one that is to be sent or on its way.
type message struct {
	planned, begun int64 // of its operation, kernel time in ns
	size           int
	body           int // where its body begins in the pattern
	head           [maxHead]byte
	headLen        uint8
	fixed          []byte // all of it, if a protocol says what it is
	kind           uint8  // of its operation
	newline        bool
	last           bool // of its operation

	// Of a datagram.
	nth         uint32 // of its operation
	left        int    // of the first: how many of the operation have no fate yet
	fate, worst fate   // and the worst of them
}

// The body is a piece of a pattern that all connections share. Its period is prime, so that whoever mixes up places in it is found out.
const patternPeriod = 4093

func newPattern(largest int, lines bool) []byte {
	pattern := make([]byte, patternPeriod+largest)
	for i := range pattern {
		at := i % patternPeriod
		if lines {
			pattern[i] = 'a' + byte((at*7+at>>5)%26)
		} else {
			pattern[i] = byte(at*131 + at>>8)
		}
	}
	return pattern
}

// payload makes and checks messages. It is the same for all connections of a thread.
type payload struct {
	framing string
	pattern []byte
	zero    int64 // to be added to kernel times, for the machine's clock

	raw [stampSize]byte // the stamp in hand: here, and not on the stack, because the checksum's function is found at run time
}

// stamped reports whether a message of that size has room for a stamp.
func (p *payload) stamped(size int) bool { return size >= minStamped(p.framing) }

func minStamped(framing string) int {
	switch framing {
	case FramingLength:
		return lengthHeader + stampSize
	case FramingLine:
		return stampHex + 1
	}
	return stampSize
}

// bodyOf remembers the checksum of the body that a connection sent last: with a fixed size it is always the same.
type bodyOf struct {
	offset, size int
	crc          uint32
}

// write makes m message number seq of connection conn.
func (p *payload) write(m *message, conn, seq uint32, known *bodyOf) {
	m.newline = p.framing == FramingLine
	m.headLen = 0
	if p.framing == FramingLength {
		binary.BigEndian.PutUint32(m.head[:], uint32(m.size-lengthHeader))
		m.headLen = lengthHeader
	}
	if !p.stamped(m.size) {
		m.body = int((uint64(conn)*769 + uint64(seq)*31) % patternPeriod)
		return
	}
	m.body = int(uint64(conn) * 769 % patternPeriod)
	raw := p.raw[:]
	binary.BigEndian.PutUint32(raw[0:], conn)
	binary.BigEndian.PutUint32(raw[4:], seq)
	binary.BigEndian.PutUint64(raw[8:], uint64(m.planned+p.zero))
	size := m.size - minStamped(p.framing)
	if known.offset != m.body || known.size != size {
		*known = bodyOf{m.body, size, crc32.Checksum(p.pattern[m.body:m.body+size], castagnoli)}
	}
	binary.BigEndian.PutUint32(raw[16:], crc32.Update(known.crc, castagnoli, raw[:16]))
	if m.newline {
		hex.Encode(m.head[:], raw)
		m.headLen = stampHex
		return
	}
	copy(m.head[m.headLen:], raw)
	m.headLen += stampSize
}

// fill copies into dst what stands in m from offset on, and returns how much that was.
func (p *payload) fill(dst []byte, m *message, offset int) int {
	if m.fixed != nil {
		return copy(dst, m.fixed[offset:])
	}
	n := 0
	if offset < int(m.headLen) {
		n = copy(dst, m.head[offset:m.headLen])
	}
	at := offset + n
	end := m.bodyEnd()
	if at < end && n < len(dst) {
		from := m.body + at - int(m.headLen)
		copied := copy(dst[n:], p.pattern[from:from+end-at])
		n, at = n+copied, at+copied
	}
	if at == end && m.newline && n < len(dst) {
		dst[n] = '\n'
		n++
	}
	return n
}

func (m *message) bodyEnd() int {
	if m.newline {
		return m.size - 1
	}
	return m.size
}

// check compares src with what stands in m from offset on. It returns how many bytes of src belong to m, and whether they are right.
func (p *payload) check(src []byte, m *message, offset int) (n int, right bool) {
	src = src[:min(len(src), m.size-offset)]
	at := 0
	if offset < int(m.headLen) {
		at = min(len(src), int(m.headLen)-offset)
		if !bytes.Equal(src[:at], m.head[offset:offset+at]) {
			return len(src), false
		}
	}
	if body := min(len(src), m.bodyEnd()-offset) - at; body > 0 {
		from := m.body + offset + at - int(m.headLen)
		if !bytes.Equal(src[at:at+body], p.pattern[from:from+body]) {
			return len(src), false
		}
		at += body
	}
	return len(src), at == len(src) || src[at] == '\n'
}

// read takes the stamp out of a whole message. It is not right if the checksum is not, or there is none.
func (p *payload) read(whole []byte) (s stamp, right bool) {
	if len(whole) < minStamped(p.framing) {
		return s, false
	}
	body, raw := whole, p.raw[:]
	switch p.framing {
	case FramingLength:
		copy(raw, whole[lengthHeader:])
		body = whole[lengthHeader+stampSize:]
	case FramingLine:
		if _, err := hex.Decode(raw, whole[:stampHex]); err != nil {
			return s, false
		}
		body = whole[stampHex : len(whole)-1]
	default:
		copy(raw, whole)
		body = whole[stampSize:]
	}
	s = stamp{binary.BigEndian.Uint32(raw[0:]), binary.BigEndian.Uint32(raw[4:]), int64(binary.BigEndian.Uint64(raw[8:]))}
	crc := crc32.Update(crc32.Checksum(body, castagnoli), castagnoli, raw[:16])
	return s, crc == binary.BigEndian.Uint32(raw[16:])
}
