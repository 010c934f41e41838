package coserver

import (
	"bufio"
	"io"

	"github.com/strand-net/strand/loop"
)

// Peek waits until n bytes have come and returns them; they stay unread. The slice is valid until the next call that reads.
// If the input ends first, it returns what there is and io.EOF. n may be up to 64 KiB; more fails with
// bufio.ErrBufferFull. Other errors are those of Read, and lose nothing.
func (c *Conn) Peek(n int) ([]byte, error) {
	if n < 0 {
		return nil, bufio.ErrNegativeCount
	}
	if n > bufferSize {
		return nil, bufio.ErrBufferFull
	}
	if err := c.lock(loop.ReadSide); err != nil {
		return nil, c.opError("read", err)
	}
	err := c.expired(loop.ReadSide)
	for err == nil && len(c.input.unread) < n {
		err = c.more(0)
	}
	var data []byte
	if err == nil || err == io.EOF {
		data = c.input.unread[:min(n, len(c.input.unread))]
	}
	c.suspendRead() // nothing is taken: for the server's limits the wait for the message goes on
	return data, c.readError(err)
}

// Discard skips the next n bytes, waiting for them, and returns how many it skipped: fewer than n only with an error, those
// of Read.
func (c *Conn) Discard(n int) (int, error) {
	if n < 0 {
		return 0, bufio.ErrNegativeCount
	}
	if err := c.lock(loop.ReadSide); err != nil {
		return 0, c.opError("read", err)
	}
	skipped, err := 0, c.expired(loop.ReadSide)
	for err == nil && skipped < n {
		if len(c.input.unread) == 0 {
			err = c.more(0)
			continue
		}
		part := min(n-skipped, len(c.input.unread))
		c.input.set(c.input.unread[part:])
		c.gotPart(skipped, part)
		skipped += part
		c.input.begun.Store(true) // whoever ends idle connections shall not take this one for idle
	}
	c.input.set(c.input.unread)
	c.endRead(err)
	return skipped, c.readError(err)
}

// ReadFull fills p. It returns how much of it is filled, which is less only with an error: io.EOF if nothing came before
// the end, io.ErrUnexpectedEOF if something did, or those of Read; what p has got by then is the beginning of the message.
func (c *Conn) ReadFull(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil // as io.ReadFull
	}
	if err := c.lock(loop.ReadSide); err != nil {
		return 0, c.opError("read", err)
	}
	n, err := 0, c.expired(loop.ReadSide)
	for err == nil && n < len(p) {
		var part int
		part, err = c.read(p[n:])
		c.gotPart(n, part)
		n += part
		c.input.begun.Store(n > 0) // whoever ends idle connections shall not take this one for idle
	}
	c.input.set(c.input.unread)
	c.endRead(err)
	if err == io.EOF && n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, c.readError(err)
}

// WriteTo writes all that comes to w, until the end of the input or an error; with it, io.Copy from a Conn needs no buffer of
// its own, and an idle one holds none. To another Conn, the bytes go inside the kernel where it can (splice(2)).
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	total := int64(0)
	if dst, ok := w.(*Conn); ok {
		var err error
		if total, err = c.spliceTo(dst, 1<<63-1); err != errNoShortcut {
			return total, err
		}
	}
	for {
		data, err := c.Next()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(data)
		total += int64(n)
		if err == nil && n < len(data) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
}
