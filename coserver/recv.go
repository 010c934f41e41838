package coserver

import (
	"errors"
	"io"
	"iter"

	"github.com/strand-net/strand/coserver/frame"
	"github.com/strand-net/strand/loop"
)

// ErrNoFraming is what Recv and Send fail with on a connection that has no framing, neither its server's nor one of its own.
var ErrNoFraming = errors.New("coserver: no framing: there is neither a Server.Framing nor a SetFraming")

// SetFraming says where messages begin and end from the next Recv and the next Send on, instead of what Server.Framing says: for a
// connection that was dialled or accepted, or whose protocol gives way to another. What has been read already is of the new one. It fails,
// and changes nothing, if an option of f is wrong. Safe from any goroutine; a call that waits goes on as it has begun.
func (c *Conn) SetFraming(f frame.Framing) error {
	if f == nil {
		return errors.New("coserver: SetFraming: the framing is nil")
	}
	if err := f.Validate(); err != nil {
		return err
	}
	c.extras().framing.Store(&f)
	return nil
}

// framing returns that of the connection, or nil.
func (c *Conn) framing() frame.Framing {
	if x := c.extra.Load(); x != nil {
		if f := x.framing.Load(); f != nil {
			return *f
		}
	}
	return c.run.framing
}

// Recv waits for the next message, as the connection's framing has it, and returns it whole, in memory of the caller's own.
//
// It fails with io.EOF if the peer's last byte came before the message, and with io.ErrUnexpectedEOF if it came in the middle of it; then
// what there is of it is returned, framing included. After os.ErrDeadlineExceeded, and after CancelRead, nothing is lost: another call,
// with a later deadline, waits for the rest. frame.ErrTooLarge and frame.ErrMalformed say that the peer breaks the rules. Nothing is skipped
// then: every further Recv fails in the same way, and other calls read what has come. ErrNoFraming says that nobody has said what a message is.
// All but the first two are in a *net.OpError, as those of Read are.
//
// Recv and other calls that read may be mixed: it takes no more than its message.
func (c *Conn) Recv() ([]byte, error) { return c.recvMessage(true) }

// RecvSlice is Recv without the copy: what it returns is valid until the next call that reads, and a connection that waits with
// nothing read has no buffer of its own.
func (c *Conn) RecvSlice() ([]byte, error) { return c.recvMessage(false) }

// Messages returns the messages that come, to range over. Each is as RecvSlice returns it, valid until the next; bytes.Clone makes one
// that stays. At the end of the input the loop ends. Any other error is the last that it gets, with what RecvSlice returns beside
// it; after a timeout a later loop goes on where it was.
func (c *Conn) Messages() iter.Seq2[[]byte, error] { return frame.Messages(c.RecvSlice) }

func (c *Conn) recvMessage(keep bool) (msg []byte, err error) {
	if err := c.lock(loop.ReadSide); err != nil {
		return nil, c.opError("read", err)
	}
	returned := false
	defer func() {
		if !returned { // the framing has panicked
			c.suspendRead()
		}
	}()
	if err = c.expired(loop.ReadSide); err == nil {
		msg, err = c.recv()
	}
	if keep && msg != nil {
		msg = append(make([]byte, 0, len(msg)), msg...)
	}
	returned = true
	c.endRead(err)
	return msg, c.readError(err)
}

// recv is RecvSlice for a caller that has the turn of the read side.
func (c *Conn) recv() ([]byte, error) {
	f := c.framing()
	if f == nil {
		return nil, ErrNoFraming
	}
	in := &c.input
	span := c.resumeMessage()
	for {
		if span.End == 0 && len(in.unread) > 0 {
			var err error
			if span, err = f.Find(in.unread, span.Seen); err != nil {
				return nil, err
			}
		}
		if end := span.End; end > 0 && end <= len(in.unread) {
			if err := c.take(); err != nil {
				return nil, err
			}
			data := in.unread
			in.set(data[end:])
			return data[span.From:span.To:span.To], nil
		}
		before := len(in.unread)
		if err := c.more(span.End); err != nil {
			if before > 0 && err == io.EOF {
				tail := in.unread
				in.set(nil)
				return tail, io.ErrUnexpectedEOF
			}
			if before > 0 && givesUp(err) {
				c.suspendMessage(span)
			}
			return nil, err
		}
		c.gotPart(before, len(in.unread)-before)
	}
}

// part is what is known of a message that a Recv had to give up in the middle.
type part struct {
	span    frame.Span
	framing *frame.Framing
	unread  []byte // what had come of it; nil if there is nothing to remember
}

// suspendMessage keeps what is known of the message of which unread has a part. The caller must have the turn of the read side.
func (c *Conn) suspendMessage(span frame.Span) {
	in, x := &c.input, c.extras()
	n := len(in.unread)
	if in.buffer != nil && n == cap(in.unread) {
		in.room(span.End)
	}
	x.part = part{span, x.framing.Load(), in.unread}
	if in.buffer != nil {
		in.unread = in.unread[:n:n] // whoever else reads into this buffer leaves another capacity
	}
}

// resumeMessage returns what suspendMessage has kept, if nobody has read or changed the framing since.
func (c *Conn) resumeMessage() (span frame.Span) {
	x := c.extra.Load()
	if x == nil || x.part.unread == nil {
		return span
	}
	in, p := &c.input, x.part
	x.part = part{}
	n, capacity := len(p.unread), cap(p.unread)
	if in.buffer != nil {
		capacity = n
	}
	if len(in.unread) != n || cap(in.unread) != capacity || &in.unread[0] != &p.unread[0] || x.framing.Load() != p.framing {
		return span
	}
	in.unread = p.unread
	return p.span
}
