package frame

import (
	"bytes"
	"errors"
	"io"
	"iter"
)

// Reader takes messages from a stream. It is for one goroutine at a time.
//
// Its memory is that of what has come: at most four times as much, and while it has nothing, 64 KiB at most.
type Reader struct {
	r       io.Reader
	framing Framing
	buf     []byte
	start   int   // of what is unread, in buf
	end     int   // of it
	span    Span  // what is known of the message that it begins with
	err     error // that came with the last bytes, and is still to be told
}

const (
	smallestBuffer = 4 << 10
	keptBuffer     = 64 << 10 // what is larger goes when it is not needed any more
)

// NewReader returns a Reader of messages from r. It fails if an option of f is wrong. It may read more of r than it gives out.
func NewReader(r io.Reader, f Framing) (*Reader, error) {
	if err := check(f); err != nil {
		return nil, err
	}
	return &Reader{r: r, framing: f}, nil
}

func check(f Framing) error {
	if f == nil {
		return errors.New("frame: the framing is nil")
	}
	return f.Validate()
}

// SetFraming changes the framing of the messages that come next: when a protocol gives way to another. It fails if an option of f is
// wrong.
func (r *Reader) SetFraming(f Framing) error {
	if err := check(f); err != nil {
		return err
	}
	r.framing, r.span = f, Span{}
	return nil
}

// Recv returns the next message, in memory of the caller's own. It fails with io.EOF if the stream ends before it. If it ends in the
// middle of it, it returns what there is, framing included, and io.ErrUnexpectedEOF. Other errors are ErrTooLarge, ErrMalformed,
// those of the framing and those of the io.Reader. They lose nothing: after one of the io.Reader, a timeout say, the
// next call goes on where that one was.
func (r *Reader) Recv() ([]byte, error) {
	msg, err := r.RecvSlice()
	if msg != nil {
		msg = append(make([]byte, 0, len(msg)), msg...)
	}
	return msg, err
}

// RecvSlice is Recv without the copy: what it returns is valid until the next call.
func (r *Reader) RecvSlice() ([]byte, error) {
	for {
		if r.start < r.end {
			msg, err := r.next()
			if msg != nil || err != nil {
				return msg, err
			}
		}
		if err := r.fill(); err == io.EOF && r.start < r.end {
			tail := r.buf[r.start:r.end]
			r.start, r.span = r.end, Span{}
			return tail, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		}
	}
}

// next returns the message that has come whole, or nil.
func (r *Reader) next() ([]byte, error) {
	data := r.buf[r.start:r.end]
	if r.span.End == 0 {
		span, err := r.framing.Find(data, r.span.Seen)
		if err != nil {
			return nil, err
		}
		r.span = span
	}
	span := r.span
	if span.End == 0 || span.End > len(data) {
		return nil, nil
	}
	r.start, r.span = r.start+span.End, Span{}
	return data[span.From:span.To:span.To], nil
}

// mostEmptyReads is how many reads in a row may give neither bytes nor an error.
const mostEmptyReads = 100

// fill adds to what is unread.
func (r *Reader) fill() error {
	if err := r.err; err != nil {
		r.err = nil
		return err
	}
	r.makeRoom()
	for range mostEmptyReads {
		n, err := r.r.Read(r.buf[r.end:])
		if n < 0 || n > len(r.buf)-r.end {
			return errors.New("frame: the io.Reader has returned a count that cannot be")
		}
		if n > 0 {
			r.end, r.err = r.end+n, err
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// makeRoom makes room behind what is unread: for the rest of the message if that is known, but not for more than three times what has
// come of it. What is unread moves when there is no room, and not each time that something comes.
func (r *Reader) makeRoom() {
	data := r.buf[r.start:r.end]
	n, end := len(data), r.span.End
	switch {
	case len(r.buf) > keptBuffer && n <= keptBuffer/4 && end <= keptBuffer: // it was for a message that is gone
		r.buf = make([]byte, max(smallestBuffer, min(4*n, keptBuffer)))
	case r.end < len(r.buf) && (r.start == 0 || r.start+end <= len(r.buf)):
		return
	case n == len(r.buf):
		size := 4 * n
		if end > 0 {
			size = min(size, end)
		}
		r.buf = make([]byte, max(size, smallestBuffer))
	}
	copy(r.buf, data)
	r.start, r.end = 0, n
}

// Messages returns the messages that come, to range over. Each is valid until the next; bytes.Clone makes one that stays. At the end of
// the stream the loop ends. Any other error is the last that it gets, with what RecvSlice returns beside it; a later loop goes on where it
// was.
func (r *Reader) Messages() iter.Seq2[[]byte, error] {
	return Messages(r.RecvSlice)
}

// Messages returns what recv returns, up to its first error, and without that if it is io.EOF.
func Messages(recv func() ([]byte, error)) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			msg, err := recv()
			if err == io.EOF || !yield(msg, err) || err != nil {
				return
			}
		}
	}
}

// Rest returns what has been read and not been given out, for whoever reads the io.Reader from here on.
func (r *Reader) Rest() []byte {
	rest := bytes.Clone(r.buf[r.start:r.end])
	r.buf, r.start, r.end, r.span = nil, 0, 0, Span{}
	return rest
}
