package coserver

import (
	"io"

	"github.com/strand-net/strand/loop"
)

// Readv reads into the buffers in order, as Read does into one that is as long as all of them: it waits until there is at least one
// byte, and returns how many it has got, up to 64 KiB. What comes takes one system call, whatever the number of buffers. Errors are
// those of Read. If there is no room in bufs, it gets nothing and waits for nothing.
func (c *Conn) Readv(bufs [][]byte) (int64, error) {
	if err := c.lock(loop.ReadSide); err != nil {
		return 0, c.opError("read", err)
	}
	var total int64
	var err error
	if room(bufs) {
		if err = c.expired(loop.ReadSide); err == nil {
			total, err = c.readv(bufs)
		}
	}
	c.endRead(err)
	return total, c.readError(err)
}

func (c *Conn) readv(bufs [][]byte) (total int64, err error) {
	in := &c.input
	if len(in.unread) > 0 {
		err = c.take()
	} else {
		err = c.more(0)
	}
	if err != nil {
		return 0, err
	}
	rest := in.unread
	for _, buf := range bufs {
		n := copy(buf, rest)
		rest = rest[n:]
		total += int64(n)
	}
	in.set(rest)
	return total, nil
}

// room reports whether anything fits into bufs.
func room(bufs [][]byte) bool {
	for _, buf := range bufs {
		if len(buf) > 0 {
			return true
		}
	}
	return false
}

// ReadFullv fills the buffers in order, as ReadFull fills one. It returns how many bytes they have got, which are all but with an error,
// one of ReadFull's.
func (c *Conn) ReadFullv(bufs [][]byte) (int64, error) {
	if !room(bufs) {
		return 0, nil
	}
	if err := c.lock(loop.ReadSide); err != nil {
		return 0, c.opError("read", err)
	}
	total, err := 0, c.expired(loop.ReadSide)
	for _, buf := range bufs {
		for err == nil && len(buf) > 0 {
			if len(c.input.unread) == 0 && len(buf) < bulkSize {
				err = c.more(0) // with what is for the buffers that follow
				continue
			}
			var n int
			n, err = c.read(buf)
			c.gotPart(total, n)
			total += n
			buf = buf[n:]
			c.input.begun.Store(total > 0) // whoever ends idle connections shall not take this one for idle
		}
	}
	c.input.set(c.input.unread)
	c.endRead(err)
	if err == io.EOF && total > 0 {
		err = io.ErrUnexpectedEOF
	}
	return int64(total), c.readError(err)
}
