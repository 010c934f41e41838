package frame

import (
	"encoding/binary"
	"math"
)

// Uvarint is the framing by a length of 1 to 10 bytes, 7 bits in each, as encoding/binary has it: that of delimited Protocol Buffers.
type Uvarint struct {
	// Keep makes the length a part of the messages that are given out, and of those that are sent.
	Keep bool

	// Max is the largest message in bytes, with its length. 0 means DefaultMax.
	Max int
}

// Validate returns an error that names the option that is wrong.
func (f Uvarint) Validate() error { return checkMax("Uvarint", f.Max, 1) }

// Find is for a [Framing].
func (f Uvarint) Find(data []byte, _ int) (Span, error) {
	most := limit(f.Max)
	value, n := binary.Uvarint(data[:min(len(data), most)])
	switch {
	case n < 0:
		return Span{}, malformed("its length is of more than 64 bits")
	case n == 0:
		return unended(data, 0, most)
	}
	span, err := counted(n, value, most)
	if f.Keep {
		span.From = 0
	}
	return span, err
}

// counted is the Span of a message with a header of head bytes, and value bytes after it.
func counted(head int, value uint64, most int) (Span, error) {
	if value > math.MaxInt64/2 {
		return Span{}, tooLarge(value, most)
	}
	end := int64(head) + int64(value)
	if end > int64(most) {
		return Span{}, tooLarge(uint64(end), most)
	}
	return Span{End: int(end), From: head, To: int(end)}, nil
}

// AppendHead is for a [Framing].
func (f Uvarint) AppendHead(dst, msg []byte) ([]byte, error) {
	if f.Keep {
		span, err := f.Find(msg, 0)
		return dst, keptError(msg, span, err)
	}
	at := len(dst)
	dst = binary.AppendUvarint(dst, uint64(len(msg)))
	if err := checkSize(len(dst)-at+len(msg), limit(f.Max)); err != nil {
		return dst[:at], err
	}
	return dst, nil
}

// AppendTail is for a [Framing].
func (f Uvarint) AppendTail(dst []byte) []byte { return dst }

// MQTT is the framing of MQTT: a byte that says what the packet is, the remaining length in 1 to 4 bytes, 7 bits in each, and as many
// bytes (OASIS MQTT 3.1.1, 2.2, and 5.0, 2.1). Packets are given out, and sent, whole.
type MQTT struct {
	// Max is the largest packet in bytes, with its fixed header. 0 means DefaultMax.
	Max int
}

// Validate returns an error that names the option that is wrong.
func (f MQTT) Validate() error { return checkMax("MQTT", f.Max, 2) }

// mostRemaining is how many bytes a remaining length may have.
const mostRemaining = 4

// Find is for a [Framing].
func (f MQTT) Find(data []byte, _ int) (Span, error) {
	var value uint64
	for i := range mostRemaining {
		if 1+i >= len(data) {
			return Span{}, nil
		}
		b := data[1+i]
		value |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			span, err := counted(2+i, value, limit(f.Max))
			span.From = 0
			return span, err
		}
	}
	return Span{}, malformed("its remaining length is of more than %d bytes", mostRemaining)
}

// AppendHead is for a [Framing].
func (f MQTT) AppendHead(dst, msg []byte) ([]byte, error) {
	span, err := f.Find(msg, 0)
	return dst, keptError(msg, span, err)
}

// AppendTail is for a [Framing].
func (f MQTT) AppendTail(dst []byte) []byte { return dst }
