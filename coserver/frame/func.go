package frame

import "errors"

// Func is the framing by a function. Messages are given out, and sent, as they are, with whatever frames them.
type Func struct {
	// Length returns how long the message is that data begins with: more than 0, and perhaps more than what has come; 0 if that
	// cannot be told yet; or an error, which Recv returns. It is called with all that has come, up to Max bytes, each time that
	// something has, until it knows. It is called by many connections at a time, must not wait, and must not change or keep data.
	Length func(data []byte) (int, error)

	// Max is the largest message in bytes. 0 means DefaultMax.
	Max int
}

// Validate returns an error that names each option that is wrong.
func (f Func) Validate() error {
	var missing error
	if f.Length == nil {
		missing = errors.New("frame: Func.Length is nil")
	}
	return errors.Join(missing, checkMax("Func", f.Max, 1))
}

// Find is for a [Framing].
func (f Func) Find(data []byte, _ int) (Span, error) {
	most := limit(f.Max)
	n, err := f.Length(data[:min(len(data), most)])
	switch {
	case err != nil:
		return Span{}, err
	case n < 0:
		return Span{}, malformed("a length of %d", n)
	case n == 0:
		return unended(data, 0, most)
	}
	return Span{End: n, To: n}, checkSize(n, most)
}

// AppendHead is for a [Framing].
func (f Func) AppendHead(dst, msg []byte) ([]byte, error) {
	if len(msg) == 0 {
		return dst, malformed("it is empty")
	}
	span, err := f.Find(msg, 0)
	return dst, keptError(msg, span, err)
}

// AppendTail is for a [Framing].
func (f Func) AppendTail(dst []byte) []byte { return dst }
