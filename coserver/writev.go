package coserver

import (
	"github.com/strand-net/strand/loop"
)

// Writev writes the buffers in order, as one Write of all of them, without copying them together. It returns how many bytes
// the kernel took: all, or fewer and an error, those of Write but for the name of the call. The buffers are not changed.
// (net.Buffers.WriteTo knows the connections of package net alone.)
func (c *Conn) Writev(bufs [][]byte) (int64, error) {
	if err := c.lock(loop.WriteSide); err != nil {
		return 0, c.opError("writev", err)
	}
	n, err := int64(0), c.expired(loop.WriteSide)
	if err == nil {
		n, err = c.writev(bufs)
	}
	c.unlock(loop.WriteSide)
	return n, c.writeError("writev", err)
}

func (c *Conn) writev(bufs [][]byte) (total int64, err error) {
	if c.output.err != nil {
		return 0, c.output.err
	}
	if c.output.size > 0 {
		if _, err := c.sendGathered(); err != nil {
			return 0, err
		}
	}
	if c.secure != nil { // a record is made by copying anyway
		for _, buf := range bufs {
			n, err := c.send(buf)
			total += int64(n)
			if err != nil {
				return total, err
			}
		}
		return total, nil
	}
	var batch [writevBatch][]byte
	for next, offset := 0, 0; ; {
		n, err := c.sock.Sendv(fill(batch[:0], bufs[next:], offset))
		total += int64(n)
		for offset += n; next < len(bufs) && offset >= len(bufs[next]); next++ {
			offset -= len(bufs[next])
		}
		if err := c.sent(n, n, err); err != nil {
			return total, err
		}
		if next == len(bufs) {
			return total, nil
		}
	}
}

// writevBatch is how many buffers one system call gets.
const writevBatch = 64

// fill appends to batch, up to its capacity, what follows the first offset bytes of bufs.
func fill(batch, bufs [][]byte, offset int) [][]byte {
	for _, buf := range bufs[:min(len(bufs), cap(batch))] {
		batch = append(batch, buf[offset:])
		offset = 0
	}
	return batch
}
