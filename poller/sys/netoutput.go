package sys

import (
	"sync"
	"syscall"
)

// netOutput is what a connection has to send. All is protected by the connection's mu.
type netOutput struct {
	queued []byte // the next to be written
	spare  []byte // memory for that, while what was in it is being written
	flying int    // bytes that are being written
	limit  int    // of both
	full   bool   // somebody has found no room
	shut   bool   // nothing more is to be sent
	ended  bool   // and the peer has been told

	begun bool      // a goroutine writes, or waits for something to write
	wake  sync.Cond // it is to look again

	total, left uint64 // bytes that were sent, and of these, those that the operating system has not taken yet
}

func (out *netOutput) room() int { return max(0, out.limit-out.flying-len(out.queued)) }

// pending reports whether there is anything to be written still.
func (out *netOutput) pending() bool { return out.flying > 0 || len(out.queued) > 0 }

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
	if !c.out.begun {
		c.out.begun = true
		go unlabelled(c.write)
	}
	c.out.wake.Signal()
	return sent, 0
}

// write writes what there is, until the connection ends. It begins with the first byte.
func (c *netConn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.failed == 0 {
		if len(c.out.queued) > 0 {
			c.writeBatch()
			continue
		}
		if c.closed {
			break
		}
		if c.out.shut {
			c.sendEnd()
		}
		c.out.wake.Wait()
	}
	if c.closed {
		c.conn.Close() // once more, unless this is what close has left to be done
	}
}

// writeBatch writes what is queued. The caller has mu, which is free meanwhile.
func (c *netConn) writeBatch() {
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
	if len(c.out.queued) == 0 && cap(c.out.queued) > smallNetBuffer {
		c.out.queued = nil
	}
	if err != nil {
		errno := errnoFrom(err)
		if errno == syscall.EPIPE && !c.in.ended {
			errno = syscall.ECONNRESET // which the read in progress, that has been told, has still to say
		}
		c.fail(errno)
		return
	}
	if c.out.full {
		c.out.full = false
		c.tell(Writable)
	}
}

// sendEnd ends the direction, once. The caller has mu.
func (c *netConn) sendEnd() {
	if c.out.ended {
		return
	}
	c.out.ended = true
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it fails if the connection has, and reading says so
	}
}
