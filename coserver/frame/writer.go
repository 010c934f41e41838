package frame

import (
	"fmt"
	"io"
	"net"
)

// Writer puts messages into a stream. It is for one goroutine at a time.
type Writer struct {
	w       io.Writer
	framing Framing
	buf     []byte
	err     error
}

// copied is the largest message that is copied together with what frames it.
const copied = 16 << 10

// NewWriter returns a Writer of messages to w. It fails if an option of f is wrong.
func NewWriter(w io.Writer, f Framing) (*Writer, error) {
	if err := check(f); err != nil {
		return nil, err
	}
	return &Writer{w: w, framing: f}, nil
}

// SetFraming changes the framing of the messages that are sent next. It fails if an option of f is wrong.
func (w *Writer) SetFraming(f Framing) error {
	if err := check(f); err != nil {
		return err
	}
	w.framing = f
	return nil
}

// Send writes msg and what frames it, in one Write up to 16 KiB: with a bufio.Writer below it, several messages go out together.
// It fails with ErrTooLarge or ErrMalformed if the framing does not take msg, of which nothing is written then, or with the error of
// the io.Writer. If that has taken a part of the message, the error is ErrCutShort, too, and so is that of all that come after it.
func (w *Writer) Send(msg []byte) error {
	if w.err != nil {
		return w.err
	}
	framed, err := w.framing.AppendHead(w.buf[:0], msg)
	if err != nil {
		return err
	}
	var n, size int64
	if len(msg) <= copied {
		framed = w.framing.AppendTail(append(framed, msg...))
		var written int
		written, err = w.w.Write(framed)
		n, size = int64(written), int64(len(framed))
	} else {
		head := len(framed)
		framed = w.framing.AppendTail(framed)
		parts := net.Buffers{framed[:head], msg, framed[head:]}
		size = int64(len(framed) + len(msg))
		n, err = parts.WriteTo(w.w)
	}
	w.buf = framed[:0]
	if err == nil && n < size {
		err = io.ErrShortWrite
	}
	if err != nil && n > 0 {
		w.err = ErrCutShort
		return fmt.Errorf("%w after %d of %d bytes: %w", ErrCutShort, n, size, err)
	}
	return err
}
