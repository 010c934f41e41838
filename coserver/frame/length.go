package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// LengthField is the framing by a length of fixed size: each message has a header in which it stands.
//
//	LengthField{Size: 4}                        // 4 bytes, big endian: how many follow
//	LengthField{Size: 2, Adjust: -2}            // the field counts itself, too
//	LengthField{Size: 4, Offset: 6, Keep: true} // a header of 10 bytes, which is part of the message
//
// A message is sent as it is received. With Keep its header is part of it, and must be right. Without, the header is made, which
// takes that it is the field alone: with an Offset, or with a Strip that takes more, messages can be received and not sent.
type LengthField struct {
	Size  int              // of the field, in bytes: 1, 2, 4 or 8
	Order binary.ByteOrder // of its bytes; nil means binary.BigEndian

	// Offset is how many bytes come before the field.
	Offset int

	// Adjust is what has to be added to the field's value to get the number of bytes that follow the field. If the value counts the
	// whole message, it is -(Offset+Size); if there are n more bytes of header behind the field that the value does not
	// count, it is n.
	Adjust int

	// Keep makes the header a part of the messages that are given out.
	Keep bool

	// Strip is how many bytes are taken from the beginning of a message. 0 means the header up to the field and with it.
	Strip int

	// Max is the largest message in bytes, with its header. 0 means DefaultMax.
	Max int
}

// mostHeader is how much an offset, an adjustment or a strip may be. It is far more than any protocol has, and keeps all sums small.
const mostHeader = 1 << 20

// Validate returns an error that names each option that is wrong.
func (f LengthField) Validate() error {
	var errs []error
	switch f.Size {
	case 1, 2, 4, 8:
	default:
		errs = append(errs, fmt.Errorf("frame: LengthField.Size is %d, want 1, 2, 4 or 8", f.Size))
	}
	if f.Offset < 0 || f.Offset > mostHeader {
		errs = append(errs, fmt.Errorf("frame: LengthField.Offset is %d, want 0 to %d", f.Offset, mostHeader))
	}
	if f.Adjust < -mostHeader || f.Adjust > mostHeader {
		errs = append(errs, fmt.Errorf("frame: LengthField.Adjust is %d, want -%d to %d", f.Adjust, mostHeader, mostHeader))
	}
	if f.Strip < 0 || f.Strip > mostHeader {
		errs = append(errs, fmt.Errorf("frame: LengthField.Strip is %d, want 0 to %d", f.Strip, mostHeader))
	}
	if f.Strip != 0 && f.Keep {
		errs = append(errs, errors.New("frame: LengthField.Strip is set, and LengthField.Keep as well"))
	}
	if len(errs) == 0 {
		errs = append(errs, checkMax("LengthField", f.Max, f.header()))
	}
	return errors.Join(errs...)
}

func (f *LengthField) header() int { return f.Offset + f.Size }

// strip is how many bytes at the beginning are not given out.
func (f *LengthField) strip() int {
	switch {
	case f.Keep:
		return 0
	case f.Strip == 0:
		return f.header()
	}
	return f.Strip
}

// Find is for a [Framing].
func (f LengthField) Find(data []byte, _ int) (Span, error) {
	return f.find(data) // so that no interface's call spreads all of f over registers and the stack, which takes longer than the rest
}

func (f *LengthField) find(data []byte) (Span, error) {
	header, most := f.header(), limit(f.Max)
	if len(data) < header {
		return Span{}, nil
	}
	var value uint64
	switch field := data[f.Offset:header]; { // the usual ones without a detour
	case f.Order != nil:
		value = fieldValue(field, f.Size, f.Order)
	case f.Size == 4:
		value = uint64(binary.BigEndian.Uint32(field))
	default:
		value = fieldValue(field, f.Size, binary.BigEndian)
	}
	if value > math.MaxInt64/2 {
		return Span{}, tooLarge(value, most)
	}
	end := int64(value) + int64(header) + int64(f.Adjust)
	from := f.strip()
	switch {
	case end < int64(header):
		return Span{}, malformed("a length of %d, with %d added, is less than none", value, f.Adjust)
	case end > int64(most):
		return Span{}, tooLarge(uint64(end), most)
	case end < int64(from):
		return Span{}, malformed("%d bytes are to be taken from the beginning of %d", from, end)
	}
	return Span{End: int(end), From: from, To: int(end)}, nil
}

// fieldValue is the value of a field of size bytes.
func fieldValue(field []byte, size int, order binary.ByteOrder) uint64 {
	switch size {
	case 1:
		return uint64(field[0])
	case 2:
		return uint64(order.Uint16(field))
	case 4:
		return uint64(order.Uint32(field))
	}
	return order.Uint64(field)
}

// AppendHead is for a [Framing].
func (f LengthField) AppendHead(dst, msg []byte) ([]byte, error) { return f.appendHead(dst, msg) }

func (f *LengthField) appendHead(dst, msg []byte) ([]byte, error) {
	if f.Keep {
		span, err := f.find(msg)
		return dst, keptError(msg, span, err)
	}
	if f.Offset != 0 || f.strip() != f.Size {
		return dst, fmt.Errorf("frame: LengthField: what Strip takes from a message besides its length is not known, so none can be sent: %w",
			errors.ErrUnsupported)
	}
	if err := checkSize(f.Size+len(msg), limit(f.Max)); err != nil {
		return dst, err
	}
	value := len(msg) - f.Adjust
	if value < 0 {
		return dst, malformed("it has %d bytes, and %d is added to the length that is told", len(msg), f.Adjust)
	}
	if f.Size < 8 && uint64(value)>>(8*f.Size) != 0 {
		return dst, fmt.Errorf("%w: a field of %d bytes does not hold its length, %d", ErrTooLarge, f.Size, value)
	}
	order := f.Order
	if order == nil {
		if f.Size == 4 { // the usual one without a detour
			return binary.BigEndian.AppendUint32(dst, uint32(value)), nil
		}
		order = binary.BigEndian
	}
	at := len(dst)
	dst = append(dst, make([]byte, f.Size)...)
	switch field := dst[at:]; f.Size {
	case 1:
		field[0] = byte(value)
	case 2:
		order.PutUint16(field, uint16(value))
	case 4:
		order.PutUint32(field, uint32(value))
	default:
		order.PutUint64(field, uint64(value))
	}
	return dst, nil
}

// AppendTail is for a [Framing].
func (f LengthField) AppendTail(dst []byte) []byte { return dst }
