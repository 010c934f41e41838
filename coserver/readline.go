package coserver

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/strand-net/strand/loop"
)

// MaxLine is the longest line that ReadLine takes, in bytes.
const MaxLine = bufferSize - 2

// ReadLine waits for a line and returns it without its end, which is \n or \r\n; a \r elsewhere is part of the line. The slice is valid
// until the next call that reads. A line may have up to max bytes, 1 to MaxLine: of a longer one it returns the first max, which are
// taken, and bufio.ErrBufferFull; the next call goes on with the rest. If the input ends first, it returns what there is and
// io.ErrUnexpectedEOF, or io.EOF if there is nothing. Other errors are those of Read, and lose nothing.
func (c *Conn) ReadLine(max int) ([]byte, error) {
	if max < 1 || max > MaxLine {
		return nil, fmt.Errorf("coserver: ReadLine: a line of up to %d bytes, want 1 to %d", max, MaxLine)
	}
	if err := c.lock(loop.ReadSide); err != nil {
		return nil, c.opError("read", err)
	}
	var line []byte
	err := c.expired(loop.ReadSide)
	if err == nil {
		line, err = c.readLine(max)
	}
	c.endRead(err)
	return line, c.readError(err)
}

func (c *Conn) readLine(max int) ([]byte, error) {
	in := &c.input
	for scanned := 0; ; {
		if i := bytes.IndexByte(in.unread[scanned:], '\n'); i >= 0 {
			if end := scanned + i; lineLength(in.unread[:end]) <= max {
				if err := c.take(); err != nil {
					return nil, err
				}
				line := in.unread[:lineLength(in.unread[:end])]
				in.set(in.unread[end+1:])
				return line, nil
			}
		}
		scanned = len(in.unread)
		// One that is too long shows only now: a \r that follows may be a part of its end.
		if scanned > max+1 || scanned == max+1 && in.unread[max] != '\r' {
			line := in.unread[:max]
			in.set(in.unread[max:])
			return line, bufio.ErrBufferFull
		}
		if err := c.more(0); err == io.EOF && scanned > 0 {
			line := in.unread
			if len(line) > max { // the \r after it was none of an end
				in.set(line[max:])
				return line[:max], bufio.ErrBufferFull
			}
			in.set(nil)
			return line, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		}
	}
}

// lineLength is how long a line is that ends here with \n: without a \r before that.
func lineLength(line []byte) int {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return n - 1
	}
	return len(line)
}
