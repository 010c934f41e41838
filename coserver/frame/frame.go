// Package frame says where messages begin and end in a stream of bytes.
//
// A [Framing] is a value: [LengthField], [Func], [Delimiter], [Line], [Fixed], [Uvarint] or [MQTT], or one of your own. A
// coserver.Server or a coserver.Conn takes one, and a [Reader] and a [Writer] use it on any io.Reader and io.Writer:
//
//	framing := frame.LengthField{Size: 4, Max: 1 << 20}
//
// Framings do no I/O and keep nothing: they look at bytes. One value may serve any number of connections at a time.
//
// Every framing has a largest message, and nobody reserves memory because a peer says that a large one comes.
package frame

import (
	"errors"
	"fmt"
)

// DefaultMax is the largest message of a framing whose Max is 0: 2 MiB, what frames it included.
const DefaultMax = 2 << 20

var (
	// ErrTooLarge says that a message is larger than its framing's Max, or than its length field can tell.
	ErrTooLarge = errors.New("frame: message too large")

	// ErrMalformed says that bytes are no message of the framing: a length that cannot be, or a message to send that its peer would
	// not get as it is.
	ErrMalformed = errors.New("frame: malformed message")

	// ErrCutShort says that a message could be sent in part only. What would be sent after it could not be told from its rest, so that
	// nothing more is.
	ErrCutShort = errors.New("frame: a message was cut short")
)

// Framing says where the messages of a stream end, and puts messages into one. Its methods must be safe for use by several
// goroutines, and must not wait.
type Framing interface {
	// Validate returns an error that names each option that is wrong.
	Validate() error

	// Find looks at data, what has come of a stream from the beginning of a message on: at least one byte, and perhaps more than
	// that message. seen is the Seen of the Span that it has returned for less of the same message, or 0. The same bytes must
	// give the same message however many come at a time. The errors are ErrTooLarge, ErrMalformed or those of the framing's own.
	//
	// While it returns neither an end nor an error, more is read: so it must know a limit.
	Find(data []byte, seen int) (Span, error)

	// AppendHead appends to dst what goes before msg in a stream, and AppendTail what goes after it. AppendHead fails with
	// ErrTooLarge or ErrMalformed if Find would not give msg back. Neither keeps or changes msg.
	AppendHead(dst, msg []byte) ([]byte, error)
	AppendTail(dst []byte) []byte
}

// Span is what a Framing knows of the first message of a stream.
type Span struct {
	// End is where the message ends, with all that frames it, and the next begins: 1 or more, or 0 as long as that is not known. It
	// may lie beyond what has come.
	End int

	// From and To are where the message that is given out begins and ends, both from 0 to End.
	From, To int

	// Seen is, while End is 0, how many bytes need not be looked at again.
	Seen int
}

// Append appends msg to dst as it stands in a stream.
func Append(dst []byte, f Framing, msg []byte) ([]byte, error) {
	framed, err := f.AppendHead(dst, msg)
	if err != nil {
		return dst, err
	}
	return f.AppendTail(append(framed, msg...)), nil
}

// limit is the Max of a framing.
func limit(max int) int {
	if max == 0 {
		return DefaultMax
	}
	return max
}

// checkMax returns an error if the Max of a framing is less than its smallest message.
func checkMax(name string, max, smallest int) error {
	if limit(max) < smallest {
		return fmt.Errorf("frame: %s.Max is %d, want 0 or %d or more", name, max, smallest)
	}
	return nil
}

// checkSize returns ErrTooLarge if a frame of size bytes is larger than max.
func checkSize(size, max int) error {
	if size > max {
		return tooLarge(uint64(size), max)
	}
	return nil
}

func tooLarge(size uint64, max int) error {
	return fmt.Errorf("%w: %d bytes, and the most is %d", ErrTooLarge, size, max)
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// unended is what is known of data whose end is not among the first most bytes. seen of it need not be looked at again.
func unended(data []byte, seen, most int) (Span, error) {
	if len(data) >= most {
		return Span{}, tooLarge(uint64(len(data))+1, most)
	}
	return Span{Seen: seen}, nil
}

// keptError says why msg, which is to be sent as it is, is not one whole message, of which Find has said span and err.
func keptError(msg []byte, span Span, err error) error {
	switch {
	case err != nil:
		return err
	case span.End == 0:
		return malformed("its end is missing")
	case span.End != len(msg):
		return malformed("by its framing it has %d bytes, and it has %d", span.End, len(msg))
	}
	return nil
}
