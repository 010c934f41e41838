package frame

import (
	"bytes"
	"errors"
	"unsafe"
)

// Delimiter is the framing by a sequence of bytes that ends each message, and does not occur in any.
type Delimiter struct {
	// Delim is what ends a message: one byte or more.
	Delim string

	// Keep makes the delimiter a part of the messages that are given out, and of those that are sent.
	Keep bool

	// Max is the largest message in bytes, with its delimiter. 0 means DefaultMax.
	Max int
}

// Validate returns an error that names each option that is wrong.
func (f Delimiter) Validate() error {
	if f.Delim == "" {
		return errors.New("frame: Delimiter.Delim is empty")
	}
	return checkMax("Delimiter", f.Max, len(f.Delim))
}

// Find is for a [Framing]. Of what it has looked at before, it looks only at what may be the beginning of a delimiter.
func (f Delimiter) Find(data []byte, seen int) (Span, error) {
	most := limit(f.Max)
	i := bytes.Index(data[seen:min(len(data), most)], f.delim())
	if i < 0 {
		return unended(data, max(seen, len(data)-len(f.Delim)+1), most)
	}
	span := Span{To: seen + i, End: seen + i + len(f.Delim)}
	if f.Keep {
		span.To = span.End
	}
	return span, nil
}

// delim is Delim as package bytes wants it, without a copy for each look; nobody writes to it.
func (f Delimiter) delim() []byte { return unsafe.Slice(unsafe.StringData(f.Delim), len(f.Delim)) }

// AppendHead is for a [Framing]. It fails with ErrMalformed if the delimiter occurs in msg, or would with the one that is to follow.
func (f Delimiter) AppendHead(dst, msg []byte) ([]byte, error) {
	if f.Keep {
		span, err := f.Find(msg, 0)
		return dst, keptError(msg, span, err)
	}
	if err := checkSize(len(msg)+len(f.Delim), limit(f.Max)); err != nil {
		return dst, err
	}
	delim := f.delim()
	if at := bytes.Index(msg, delim); at >= 0 {
		return dst, malformed("there is a delimiter in it, at %d", at)
	}
	for n := min(len(msg), len(delim)-1); n > 0; n-- {
		if begun := msg[len(msg)-n:]; bytes.HasPrefix(delim, begun) && bytes.HasPrefix(delim, delim[n:]) {
			return dst, malformed("its end is the beginning of a delimiter")
		}
	}
	return dst, nil
}

// AppendTail is for a [Framing].
func (f Delimiter) AppendTail(dst []byte) []byte {
	if f.Keep {
		return dst
	}
	return append(dst, f.Delim...)
}

// Line is the framing by the end of a line: \n, or \r\n. A \r anywhere else is like any other byte.
type Line struct {
	// CRLF sends lines that end in \r\n, as the text protocols of the Internet have it, and not in \n. Either is received.
	CRLF bool

	// Keep makes the end of the line a part of the messages that are given out, and of those that are sent.
	Keep bool

	// Max is the longest line in bytes, with its end. 0 means DefaultMax.
	Max int
}

// Validate returns an error that names each option that is wrong.
func (f Line) Validate() error {
	var both error
	if f.CRLF && f.Keep {
		both = errors.New("frame: Line.CRLF is set, and with Line.Keep a line has its end already")
	}
	return errors.Join(both, checkMax("Line", f.Max, len(f.ending())))
}

// Find is for a [Framing]. It looks at no byte twice.
func (f Line) Find(data []byte, seen int) (Span, error) {
	most := limit(f.Max)
	i := bytes.IndexByte(data[seen:min(len(data), most)], '\n')
	if i < 0 {
		return unended(data, len(data), most)
	}
	end := seen + i + 1
	span := Span{End: end, To: end}
	if !f.Keep {
		if span.To--; span.To > 0 && data[span.To-1] == '\r' {
			span.To--
		}
	}
	return span, nil
}

// AppendHead is for a [Framing]. Without Keep it fails with ErrMalformed if there is a \n in msg, or if its last byte is a \r, which
// would be taken for a part of the end.
func (f Line) AppendHead(dst, msg []byte) ([]byte, error) {
	if f.Keep {
		span, err := f.Find(msg, 0)
		return dst, keptError(msg, span, err)
	}
	if err := checkSize(len(msg)+len(f.ending()), limit(f.Max)); err != nil {
		return dst, err
	}
	if at := bytes.IndexByte(msg, '\n'); at >= 0 {
		return dst, malformed("there is the end of a line in it, at %d", at)
	}
	if !f.CRLF && len(msg) > 0 && msg[len(msg)-1] == '\r' {
		return dst, malformed("its last byte is a part of the end of a line")
	}
	return dst, nil
}

// AppendTail is for a [Framing].
func (f Line) AppendTail(dst []byte) []byte {
	if f.Keep {
		return dst
	}
	return append(dst, f.ending()...)
}

func (f Line) ending() string {
	if f.CRLF {
		return "\r\n"
	}
	return "\n"
}
