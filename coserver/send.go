package coserver

import (
	"fmt"

	"github.com/strand-net/strand/coserver/frame"
	"github.com/strand-net/strand/loop"
)

// Send writes msg as one message, as the connection's framing has it: the peer's Recv returns the same. Messages of several goroutines
// are not mixed. It gathers as Write does, and reports an error of gathered output in the same way; a large message goes out
// together with what frames it without being copied.
//
// It fails with frame.ErrTooLarge, frame.ErrMalformed or ErrNoFraming before anything is written, and else as Write does. If the
// deadline comes before anything of msg has been taken, the call can be made again. If a part has been, the rest is lost: the
// error is frame.ErrCutShort, too, and so is that of all later writes, for the peer could not tell them from it.
func (c *Conn) Send(msg []byte) error {
	if err := c.lock(loop.WriteSide); err != nil {
		return c.opError("write", err)
	}
	defer c.unlock(loop.WriteSide) // also if the framing panics
	if err := c.expired(loop.WriteSide); err != nil {
		return c.writeError("write", err)
	}
	return c.writeError("write", c.sendMessage(msg))
}

// frameRoom is how much room there is in a gather buffer for what frames a message. A framing that needs more gets it from the heap.
const frameRoom = 64

func (c *Conn) sendMessage(msg []byte) error {
	f, out := c.framing(), &c.output
	switch {
	case f == nil:
		return ErrNoFraming
	case out.err != nil:
		return out.err
	case len(msg) > gatherSize-frameRoom:
		return c.sendLarge(f, msg)
	}
	if int(out.size)+len(msg)+frameRoom > gatherSize {
		if _, err := c.sendGathered(); err != nil {
			return err
		}
	}
	out.open()
	before := int(out.size)
	framed, err := frame.Append(out.buffer[:before], f, msg)
	if err != nil {
		out.takeBack(0)
		return err
	}
	if len(framed) > gatherSize {
		return c.sendParts(framed[before:])
	}
	out.size = int32(len(framed))
	if c.mayGather() {
		c.watchGathered()
		return nil
	}
	size := len(framed) - before
	sent, err := c.sendGathered()
	n := max(0, sent-before)
	if givesUp(err) {
		out.takeBack(size - n)
	}
	return c.cutShort(n, size, err)
}

// sendLarge is sendMessage for a msg that is not gathered.
func (c *Conn) sendLarge(f frame.Framing, msg []byte) error {
	scratch := gatherBuffers.Get().(*[gatherSize]byte)
	defer gatherBuffers.Put(scratch)
	head, err := f.AppendHead(scratch[:0], msg)
	if err != nil {
		return err
	}
	framed := f.AppendTail(head)
	return c.sendParts(framed[:len(head)], msg, framed[len(head):])
}

// sendParts sends a message that consists of parts. The caller must have the turn of the write side.
func (c *Conn) sendParts(parts ...[]byte) error {
	if c.output.size > 0 {
		if _, err := c.sendGathered(); err != nil {
			return err
		}
	} else if c.output.buffer != nil {
		c.output.reset()
	}
	size, filled := 0, parts[:0]
	for _, part := range parts {
		if size += len(part); len(part) > 0 {
			filled = append(filled, part)
		}
	}
	n, err := c.writev(filled)
	return c.cutShort(int(n), size, err)
}

// cutShort is the end of a Send that has sent n of size bytes, with err. The caller must have the turn of the write side.
func (c *Conn) cutShort(n, size int, err error) error {
	if err == nil || n == 0 {
		return err
	}
	if c.output.err == nil {
		c.output.err = frame.ErrCutShort
	}
	return fmt.Errorf("%w after %d of %d bytes: %w", frame.ErrCutShort, n, size, err)
}
