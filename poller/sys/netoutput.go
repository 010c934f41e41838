package sys

import "syscall"

// netOutput is what a connection has to send. All is protected by the connection's mu.
type netOutput struct {
	queued  []byte // the next to be written
	spare   []byte // memory for that, while what was in it is being written
	flying  int    // bytes that are being written
	limit   int    // of both
	writing bool   // a goroutine writes
	full    bool   // somebody has found no room
	shut    bool   // nothing more is to be sent

	total, left uint64 // bytes that were sent, and of these, those that the operating system has not taken yet
}

func (out *netOutput) room() int { return max(0, out.limit-out.flying-len(out.queued)) }

// drop forgets what is not being written.
func (out *netOutput) drop() {
	out.left -= uint64(len(out.queued))
	out.queued = nil
}

func (c *netConn) send(bufs ...[]byte) (int, syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failed != 0:
		return 0, c.failure(syscall.EPIPE)
	case c.out.shut:
		return 0, syscall.EPIPE
	case c.conn == nil:
		return 0, syscall.EAGAIN
	}
	sent, wanted := 0, false
	for _, p := range bufs {
		n := min(len(p), c.out.room(), MaxTransfer-sent)
		c.out.queued = append(c.out.queued, p[:n]...)
		sent += n
		wanted = wanted || len(p) > 0
	}
	if c.out.room() == 0 {
		c.out.full = true
	}
	if sent == 0 {
		if wanted {
			return 0, syscall.EAGAIN
		}
		return 0, 0
	}
	c.out.total += uint64(sent)
	c.out.left += uint64(sent)
	if !c.out.writing {
		c.out.writing = true
		go c.write()
	}
	return sent, 0
}

// write writes until there is nothing more.
func (c *netConn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out.queued) > 0 {
		batch := c.out.queued
		c.out.queued, c.out.spare, c.out.flying = c.out.spare[:0], nil, len(batch)
		c.mu.Unlock()
		_, err := c.conn.Write(batch)
		c.mu.Lock()
		c.out.flying = 0
		c.out.left -= uint64(len(batch))
		if cap(batch) <= smallNetBuffer || len(c.out.queued) > 0 { // an idle connection keeps little
			c.out.spare = batch
		}
		if err != nil {
			c.fail(errnoFrom(err))
			break
		}
		if c.out.full {
			c.out.full = false
			c.tell(Writable)
		}
	}
	c.out.writing = false
	if cap(c.out.queued) > smallNetBuffer {
		c.out.queued = nil
	}
	c.finishWriting()
}

// finishWriting does what was to be done after the last byte. The caller has mu.
func (c *netConn) finishWriting() {
	if c.closed {
		c.conn.Close()
	} else if c.out.shut && c.failed == 0 {
		if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // it fails if the connection has, and reading says so
		}
	}
}
