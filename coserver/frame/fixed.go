package frame

import "fmt"

// Fixed is the framing of messages that all have the same size, and nothing around them.
type Fixed struct {
	Size int // in bytes, 1 or more
}

// Validate returns an error that names the option that is wrong.
func (f Fixed) Validate() error {
	if f.Size < 1 {
		return fmt.Errorf("frame: Fixed.Size is %d, want 1 or more", f.Size)
	}
	return nil
}

// Find is for a [Framing].
func (f Fixed) Find([]byte, int) (Span, error) { return Span{End: f.Size, To: f.Size}, nil }

// AppendHead is for a [Framing].
func (f Fixed) AppendHead(dst, msg []byte) ([]byte, error) {
	if err := checkSize(len(msg), f.Size); err != nil {
		return dst, err
	}
	if len(msg) < f.Size {
		return dst, malformed("it has %d bytes, want %d", len(msg), f.Size)
	}
	return dst, nil
}

// AppendTail is for a [Framing].
func (f Fixed) AppendTail(dst []byte) []byte { return dst }
