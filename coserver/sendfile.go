package coserver

import (
	"fmt"
	"io"
	"os"

	"github.com/strand-net/strand/loop"
)

// SendFile writes length bytes of f from an offset on, or all from there to its end if length is 0, and returns how many were
// written: fewer than length, without an error, if the file ends before. The file's own offset is neither used nor moved, so many
// connections may send the same *os.File at a time. The bytes do not come into the program where the kernel can do without
// (sendfile(2)); with TLS they do. Reading the file may block, which holds up the loop of an inline handler. Errors are those of Write,
// and of the file.
func (c *Conn) SendFile(f *os.File, offset, length int64) (int64, error) {
	if offset < 0 || length < 0 {
		return 0, fmt.Errorf("coserver: SendFile: %d bytes from %d on: %w", length, offset, os.ErrInvalid)
	}
	if length == 0 {
		length = 1<<63 - 1 - offset
	}
	if c.secure == nil {
		from := offset
		if n, err := c.sendFile(f, &from, length); err != errNoShortcut {
			return n, err
		}
	}
	return c.copyFrom(io.NewSectionReader(f, offset, length))
}

// sendFile sends up to limit bytes of f: from its offset on, and moves that, or if from is not nil, from there on.
func (c *Conn) sendFile(f file, from *int64, limit int64) (int64, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	if err := c.lock(loop.WriteSide); err != nil {
		return 0, c.opError("write", err)
	}
	total, err := int64(0), c.expired(loop.WriteSide)
	if err == nil && c.output.size > 0 {
		_, err = c.sendGathered()
	}
	for err == nil && total < limit {
		n := 0
		readErr := raw.Read(func(fd uintptr) bool {
			n, err = c.sock.SendFile(fd, from, int(min(limit-total, maxPiece)))
			return true
		})
		total += int64(n)
		if total == 0 && (isNoShortcut(err) || readErr != nil) {
			err = errNoShortcut // what is wrong with the file it says itself when it is read
			break
		}
		if readErr != nil {
			c.unlock(loop.WriteSide)
			return total, os.ErrClosed // the file, by somebody else, meanwhile
		}
		if err == nil && n == 0 {
			break // the end of the file
		}
		err = c.sent(n, maxPiece, err)
	}
	c.unlock(loop.WriteSide)
	if err == errNoShortcut {
		return 0, err
	}
	return total, c.writeError("write", err)
}
