package coserver_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/sys/systest/simtest"
)

// writers is how many goroutines write to a connection beside its handler, at most.
const writers = 3

// client is a connection as both of its ends see it.
type client struct {
	*simtest.Client
	server *simulatedServer
	rand   *rand.Rand // for its handler
	m      *simulated

	conn atomic.Pointer[coserver.Conn] // nil before the handler begins
	left atomic.Bool                   // the handler has returned
	cut  atomic.Bool                   // bytes may be lost: somebody ends the connection out of order
	seen atomic.Int64                  // bytes that the handler has got

	timeouts atomic.Int64 // of the handler's reads

	got  int  // by the peer, without frames
	late bool // gathered output may have missed its deadline

	writing      [writers]atomic.Bool
	begun, taken [writers]atomic.Int64 // frames given to Write, and taken by it
	frames       [writers]int          // that the peer has got
	part         []byte                // of a frame
}

// frameSize is that of a message of another goroutine. Its bytes have their highest bit set, those of the handlers have not.
const frameSize = 7

func numbered(writer, number int) []byte {
	f := []byte{0xc0 | byte(writer)}
	for i := range frameSize - 1 {
		f = append(f, 0x80|byte(number>>(5*i))&0x1f)
	}
	return f
}

// take checks what the peer has got: the handler's bytes in order, and frames that are whole, each writer's in order.
func (c *client) take(p []byte) {
	for _, b := range p {
		if b < 0x80 {
			if len(c.part) > 0 {
				c.m.Fatalf("client %d: a frame is torn", c.Number)
			}
			if b != c.Requests().At(c.got) {
				c.m.Fatalf("client %d (%s): wrong byte at %d", c.Number, c.server.kind.name, c.got)
			}
			c.got++
			continue
		}
		if c.part = append(c.part, b); len(c.part) < frameSize {
			continue
		}
		w := int(c.part[0] & 0x1f)
		if w >= writers || string(c.part) != string(numbered(w, c.frames[w])) {
			c.m.Fatalf("client %d: frame % x of writer %d is not number %d", c.Number, c.part, w, c.frames[w])
		}
		c.frames[w]++
		c.part = c.part[:0]
	}
}

// check notes what the handler has got.
func (c *client) check(data []byte) {
	c.m.Trace("client %d: handler gets %d", c.Number, len(data))
	if place := c.Requests().Differs(data, int(c.seen.Load())); place >= 0 {
		c.m.Wrong("client %d: handler got a wrong byte at %d", c.Number, place)
	}
	c.seen.Add(int64(len(data)))
}

// write goes on after a timeout where the Write stopped.
func (c *client) write(conn *coserver.Conn, p []byte) error {
	for len(p) > 0 {
		n, err := conn.Write(p)
		p = p[n:]
		if isTimeout(err) {
			c.m.Trace("client %d: write timeout, %d left", c.Number, len(p))
			conn.SetWriteDeadline(time.Time{})
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// enqueue is write that never waits, unless there is no room.
func (c *client) enqueue(conn *coserver.Conn, p []byte) error {
	err := conn.Enqueue(p)
	if isTimeout(err) || errors.Is(err, coserver.ErrQueueFull) {
		return c.write(conn, p)
	}
	return err
}

// timeout is what handlers do when a read has timed out: they go on.
func (c *client) timeout(conn *coserver.Conn) {
	c.timeouts.Add(1)
	conn.SetReadDeadline(time.Time{})
}

// handlerKind is what a server does.
type handlerKind struct {
	name   string
	serve  func(*client, *coserver.Conn) error
	answer func(*client) (bytes int, end bool) // when everything is at rest

	shared  bool // goroutines write too
	gathers bool // what it writes is gathered
	queues  bool // what it writes is enqueued
	leaves  bool // it closes the connection of its own accord
}

// greeting is what a server says that does not listen.
const greeting = 3000

// all is the answer of an echo.
func all(c *client) (int, bool) { return c.Sent, c.Finished }

var handlerKinds = []handlerKind{
	{name: "next", answer: all, serve: eachPart((*coserver.Conn).Next)},
	{name: "queued", answer: all, queues: true, serve: func(c *client, conn *coserver.Conn) error {
		return eachPartTo(c.enqueue, (*coserver.Conn).Next)(c, conn)
	}},
	{name: "read", answer: all, serve: func(c *client, conn *coserver.Conn) error {
		buffer := make([]byte, 3000)
		return eachPart(func(conn *coserver.Conn) ([]byte, error) {
			n, err := conn.Read(buffer[:1+c.rand.IntN(len(buffer))]) // each time another: byte by byte there would be no end of it
			return buffer[:n], err
		})(c, conn)
	}},
	{name: "line", gathers: true, serve: eachLine, answer: lines},
	{name: "shared", serve: eachLine, answer: lines, shared: true},
	{name: "patient", answer: all, serve: eachPart(func(conn *coserver.Conn) ([]byte, error) {
		conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
		return conn.Next()
	})},
	{name: "full", gathers: true, serve: readFull, answer: func(c *client) (int, bool) {
		if c.Finished {
			return c.Sent, true
		}
		return c.Sent / record * record, false
	}},
	{name: "late", serve: answerLate, answer: func(c *client) (int, bool) {
		if c.Finished {
			return c.Sent, true
		}
		return 0, false
	}},
	{name: "greeter", leaves: true, answer: func(*client) (int, bool) { return greeting, true },
		serve: func(c *client, conn *coserver.Conn) error { return c.write(conn, c.Requests().Part(0, greeting)) }},
}

func lines(c *client) (int, bool) {
	if c.Finished {
		return c.Sent, true
	}
	for n := c.Sent; n > 0; n-- {
		if c.Requests().At(n-1) == '\n' {
			return n, false
		}
	}
	return 0, false
}

// eachPart echoes what get gets.
func eachPart(get func(*coserver.Conn) ([]byte, error)) func(*client, *coserver.Conn) error {
	return func(c *client, conn *coserver.Conn) error { return eachPartTo(c.write, get)(c, conn) }
}

func eachPartTo(put func(*coserver.Conn, []byte) error, get func(*coserver.Conn) ([]byte, error)) func(*client, *coserver.Conn) error {
	return func(c *client, conn *coserver.Conn) error {
		for {
			data, err := get(conn)
			if isTimeout(err) {
				c.timeout(conn)
				continue
			}
			if err != nil {
				return err
			}
			c.check(data)
			if err := put(conn, data); err != nil {
				return err
			}
		}
	}
}

// eachLine echoes line by line, each in two pieces.
func eachLine(c *client, conn *coserver.Conn) error {
	for {
		line, err := conn.ReadSlice('\n')
		if isTimeout(err) {
			c.timeout(conn)
			continue
		}
		c.check(line)
		half := len(line) / 2
		if err := c.write(conn, line[:half]); err != nil {
			return err
		}
		if err := c.write(conn, line[half:]); err != nil {
			return err
		}
		if err != nil {
			return err
		}
	}
}

// record is the size of the messages of readFull.
const record = 100

// readFull reads messages of one size, peeking at some first, and goes on with the rest after a timeout.
func readFull(c *client, conn *coserver.Conn) error {
	var message [record]byte
	for n := 0; ; {
		if n == 0 && c.rand.IntN(4) == 0 {
			if _, err := conn.Peek(1 + c.rand.IntN(record)); isTimeout(err) {
				c.timeout(conn)
			}
		}
		more, err := conn.ReadFull(message[n:])
		c.check(message[n : n+more])
		if n += more; isTimeout(err) {
			c.timeout(conn)
			continue
		}
		if writeErr := c.write(conn, message[:n]); writeErr != nil {
			return writeErr
		}
		if err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
		n = 0
	}
}

// answerLate answers when the peer has sent its end.
func answerLate(c *client, conn *coserver.Conn) error {
	for {
		data, err := conn.Next()
		if isTimeout(err) {
			c.timeout(conn)
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		c.check(data)
	}
	if err := c.write(conn, c.Requests().Part(0, int(c.seen.Load()))); err != nil {
		return err
	}
	if c.rand.IntN(2) == 0 {
		return conn.CloseWrite()
	}
	return nil
}
