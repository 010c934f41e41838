package server

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/frame"
)

// MaxMessage is the largest message that protocol length takes on every engine, in bytes, without its header.
const MaxMessage = 1 << 20

// lengthHeader is how many bytes tell how many follow.
const lengthHeader = 4

func lengthFraming() frame.Framing {
	return frame.LengthField{Size: lengthHeader, Max: lengthHeader + MaxMessage}
}

// coLength sends each message back.
func coLength(c *coserver.Conn) error {
	for {
		msg, err := c.RecvSlice()
		if errors.Is(err, frame.ErrTooLarge) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.Send(msg); err != nil {
			return err
		}
	}
}

// netLength does with bufio what can be done: it reads messages that fit where they lie, and its answers go out when there is nothing more
// to read at once.
func netLength(conn net.Conn) {
	reader, writer := bufio.NewReaderSize(conn, netBuffer), bufio.NewWriterSize(conn, netBuffer)
	var body []byte
	for {
		if reader.Buffered() < lengthHeader && writer.Flush() != nil {
			return
		}
		header, err := reader.Peek(lengthHeader)
		if err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(header))
		if n > MaxMessage {
			_ = writer.Flush()
			return
		}
		if whole := lengthHeader + n; whole <= netBuffer {
			if reader.Buffered() < whole && writer.Flush() != nil {
				return
			}
			msg, err := reader.Peek(whole)
			if err != nil {
				return
			}
			_, _ = writer.Write(msg) // an error is that of the next Flush
			_, _ = reader.Discard(whole)
			continue
		}
		_, _ = writer.Write(header)
		if writer.Flush() != nil {
			return
		}
		_, _ = reader.Discard(lengthHeader)
		if cap(body) < n {
			body = make([]byte, n)
		}
		if _, err := io.ReadFull(reader, body[:n]); err != nil {
			return
		}
		if _, err := conn.Write(body[:n]); err != nil {
			return
		}
	}
}
