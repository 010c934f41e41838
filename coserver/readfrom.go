package coserver

import (
	"errors"
	"io"
	"syscall"
)

// errNoShortcut says that the kernel cannot move the bytes by itself, or not the rest of them. What it has not moved is where it
// was, so a copy through memory goes on from there.
var errNoShortcut = errors.New("coserver: no shortcut")

// ReadFrom writes all that r has, until io.EOF or an error; io.Copy to a Conn uses it. If r is an *os.File or a *Conn, or an
// io.LimitedReader of one, the bytes do not come into the program where the kernel can do without (sendfile(2), splice(2)).
// Reading a file may block, which holds up the loop of an inline handler.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.fromKernel(r)
	if err != errNoShortcut {
		return n, err
	}
	rest, err := c.copyFrom(r)
	return n + rest, err
}

// fromKernel returns how much the kernel has moved, and errNoShortcut if it cannot do the rest.
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
		return c.sendFile(r, nil, limit)
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
