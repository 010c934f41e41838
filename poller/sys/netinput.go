package sys

import (
	"io"
	"sync"
	"syscall"
)

// netInput is what a connection has received. All is protected by the connection's mu, but for the part of the buffer after end,
// which belongs to the goroutine that reads, and which alone moves what is in the buffer.
type netInput struct {
	buffer     []byte
	begin, end int // of what is unread
	limit      int // of the buffer

	room   sync.Cond // or nobody reads any more
	ended  bool      // no more will come
	shut   bool      // nobody wants more
	total  uint64    // bytes
	latest int       // what the latest read has brought
}

func (in *netInput) unread() int { return in.end - in.begin }

// space is where the next read may go, nil if there is no room.
func (in *netInput) space() []byte {
	if in.unread() == 0 {
		in.begin, in.end = 0, 0
		if len(in.buffer) < smallNetBuffer || len(in.buffer) > smallNetBuffer && in.latest < smallNetBuffer {
			in.buffer = make([]byte, min(smallNetBuffer, in.limit))
		}
	}
	if in.begin >= len(in.buffer)/2 && in.begin > 0 {
		in.end = copy(in.buffer, in.buffer[in.begin:in.end])
		in.begin = 0
	}
	if in.end == len(in.buffer) && len(in.buffer) < in.limit {
		larger := make([]byte, min(4*len(in.buffer), in.limit))
		in.end = copy(larger, in.buffer[in.begin:in.end])
		in.buffer, in.begin = larger, 0
	}
	if in.end == len(in.buffer) {
		return nil
	}
	return in.buffer[in.end:]
}

// read takes what comes until the end.
func (c *netConn) read() {
	for {
		space := c.waitForRoom()
		if space == nil {
			return
		}
		n, err := c.conn.Read(space)
		if !c.arrived(n, err) {
			return
		}
	}
}

// waitForRoom returns nil when nobody will read any more.
func (c *netConn) waitForRoom() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.closed || c.failed != 0 {
			return nil
		}
		if space := c.in.space(); space != nil {
			return space
		}
		c.in.room.Wait()
	}
}

// arrived takes note of what a read has brought. It reports whether there is to be another.
func (c *netConn) arrived(n int, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.in.end += n
	c.in.total += uint64(n)
	c.in.latest = n
	switch {
	case err == nil:
		c.tell(Readable)
		return true
	case err == io.EOF || c.in.shut:
		c.in.ended = true
		c.tell(c.holds() &^ Writable)
	default:
		c.fail(errnoFrom(err))
	}
	return false
}

func (c *netConn) recv(p []byte) (int, syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(p) == 0:
		return 0, 0
	case c.in.unread() > 0:
		n := copy(p, c.in.buffer[c.in.begin:c.in.end])
		c.in.begin += n
		c.in.room.Signal()
		return n, 0
	case c.in.ended:
		return 0, 0
	case c.failed != 0:
		return 0, c.failure(0)
	case c.conn == nil:
		return 0, syscall.EAGAIN
	}
	return 0, syscall.EAGAIN
}
