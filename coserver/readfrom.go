package coserver

import (
	"errors"
	"io"
	"syscall"

	"github.com/strand-net/strand/loop"
)

// errNoShortcut says that the kernel cannot move the bytes by itself, and nothing has been moved.
var errNoShortcut = errors.New("coserver: no shortcut")

// ReadFrom writes all that r has, until io.EOF or an error; io.Copy to a Conn uses it. If r is an *os.File or a *Conn, or an
// io.LimitedReader of one, the bytes do not come into the program where the kernel can do without (sendfile(2), splice(2)).
// Reading a file may block, which holds up the loop of an inline handler.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.fromKernel(r)
	if err != errNoShortcut {
		return n, err
	}
	return c.copyFrom(r)
}

// fromKernel fails with errNoShortcut if it cannot be done.
func (c *Conn) fromKernel(r io.Reader) (n int64, err error) {
	if c.secure != nil {
		return 0, errNoShortcut
	}
	limit := int64(1<<63 - 1)
	if limited, ok := r.(*io.LimitedReader); ok {
		r, limit = limited.R, limited.N
		defer func() { limited.N -= n }()
		if limit <= 0 {
			return 0, nil
		}
	}
	switch r := r.(type) {
	case *Conn:
		return r.spliceTo(c, limit)
	case file:
		return c.sendFile(r, limit)
	}
	return 0, errNoShortcut
}

// file is an *os.File, also as os.File.WriteTo, which io.Copy calls, passes itself on.
type file interface {
	io.Reader
	io.Seeker
	syscall.Conn
}

// copyFrom copies through a lent buffer. It may wait in r while it has the buffer.
func (c *Conn) copyFrom(r io.Reader) (total int64, err error) {
	buffer := lend(bufferSize)
	defer buffer.giveBack()
	for {
		n, readErr := r.Read(buffer.bytes)
		if n > 0 {
			n, err := c.Write(buffer.bytes[:n])
			total += int64(n)
			if err != nil {
				return total, err
			}
		}
		if readErr == io.EOF {
			return total, nil
		}
		if readErr != nil {
			return total, readErr
		}
	}
}

// sendFile sends up to limit bytes of f from its offset on.
func (c *Conn) sendFile(f file, limit int64) (int64, error) {
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
			n, err = c.sock.SendFile(fd, int(min(limit-total, maxPiece)))
			return true
		})
		total += int64(n)
		if err == nil {
			err = readErr
		}
		if total == 0 && isNoShortcut(err) {
			err = errNoShortcut
			break
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

// isNoShortcut tells that the kernel does not do it for these descriptors (sendfile(2), splice(2)) from a failure of the
// transfer.
func isNoShortcut(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.EINVAL, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.EPERM, syscall.EOVERFLOW, syscall.EMFILE, syscall.ENFILE:
		return true
	}
	return false
}
