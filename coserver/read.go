package coserver

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync/atomic"

	"github.com/strand-net/strand/loop"
)

// input is what has been read from the socket and not been asked for yet. Protected by the turn of the read side.
type input struct {
	buffer *lent  // or nil
	unread []byte // part of buffer; or of memory of its own, while the connection waits for the rest of a message
	streak int32  // bytes that the handler has got without waiting once

	// begun says, to other goroutines too, that unread is not empty.
	begun atomic.Bool
}

// turnBudget is how many bytes a handler may move without waiting before everything else that is ready on its loop has
// its turn. What it moves in bulk, more than bulkSize at once, counts bulkShare times less: there is nothing but the copy to
// it, and a turn that ends in the middle of a large message finds it out of the processor's cache the next time.
const (
	turnBudget = 256 << 10
	bulkSize   = 64 << 10
	bulkShare  = 16

	// maxPiece is the most that is moved in one go.
	maxPiece = 1 << 20

	// messageCost is what a message counts besides its size that a handler takes from input at hand: it will work on it. So a turn
	// is at most a thousand of them.
	messageCost = 256
)

// spent is what the transfer of n bytes takes of the budget, if asked could have been moved.
func (c *Conn) spent(n, asked int) int32 {
	if asked > bulkSize && c.secure == nil {
		n /= bulkShare
	}
	return int32(n)
}

// set makes unread what is left, and tells Write whether there is anything.
func (in *input) set(unread []byte) {
	in.unread = unread
	if begun := len(unread) > 0; begun != in.begun.Load() {
		in.begun.Store(begun)
	}
}

// smallPart is how much of a message is copied each time that more comes. A larger part has room of its own to grow in: a peer that sends
// byte by byte must not make work for each byte by all that came before.
const smallPart = 1 << 10

// giveBack returns the lent buffer. What is unread moves to memory of its own.
func (in *input) giveBack() {
	if in.buffer == nil {
		return
	}
	if n := len(in.unread); n > smallPart {
		in.unread = append(make([]byte, 0, min(lendGrowth*n, bufferSize)), in.unread...)
	} else if in.unread != nil {
		in.unread = append([]byte(nil), in.unread...)
	}
	in.buffer.giveBack()
	in.buffer = nil
}

// park is giveBack before a wait: unless what is unread takes so much of the buffer that it is no waste.
func (in *input) park() {
	if in.buffer != nil && lendGrowth*len(in.unread) < len(in.buffer.bytes) {
		in.giveBack()
	}
}

// room makes room behind what is unread and returns it. end is where the message ends that is unread in part, or 0 if that is not known:
// of one that is larger than bufferSize nothing more is read. A length is only what a peer says, so there is never more room than
// three times what has come, but for bufferSize.
func (in *input) room(end int) []byte {
	n := len(in.unread)
	size := 0 // of another buffer
	switch b := in.buffer; {
	case b == nil && n > smallPart && n < cap(in.unread):
		return in.unread[n:cap(in.unread)]
	case n < bufferSize:
		if b == nil || len(b.bytes) != bufferSize {
			size = bufferSize
		}
	case b == nil || n == len(b.bytes):
		if size = lendGrowth * n; end > 0 {
			size = min(size, end)
		}
	}
	before := in.buffer
	if size > 0 {
		in.buffer = lend(size)
	}
	bytes := in.buffer.bytes
	if size > 0 || cap(in.unread) != cap(bytes) { // or it is at the beginning already
		copy(bytes, in.unread)
		in.unread = bytes[:n]
	}
	if size > 0 && before != nil {
		before.giveBack()
	}
	if end > bufferSize {
		bytes = bytes[:min(len(bytes), end)]
	}
	return bytes[n:]
}

// Read reads up to len(p) bytes into p, waiting until there is at least one. It fails with io.EOF when the peer has
// sent its last byte, and with a *net.OpError otherwise: net.ErrClosed after Close, os.ErrDeadlineExceeded. An empty p gets
// nothing and waits for nothing.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.lock(loop.ReadSide); err != nil {
		return 0, c.opError("read", err)
	}
	var n int
	var err error
	if len(p) > 0 {
		if err = c.expired(loop.ReadSide); err == nil {
			n, err = c.read(p)
		}
	}
	c.endRead(err)
	return n, c.readError(err)
}

// read is Read for a p that is not empty. The caller must have the turn of the read side.
func (c *Conn) read(p []byte) (int, error) {
	in := &c.input
	if len(in.unread) > 0 {
		if err := c.take(); err != nil {
			return 0, err
		}
		n := copy(p, in.unread)
		in.set(in.unread[n:])
		return n, nil
	}
	if err := c.turnToSocket(); err != nil {
		return 0, err
	}
	in.giveBack()
	for known := false; ; {
		n, err := c.receive(p, known)
		if c.closed.Load() {
			return 0, net.ErrClosed // what came before may have been dropped
		}
		if err != loop.ErrNotReady {
			in.streak += c.spent(n, len(p))
			return n, err
		}
		in.streak = 0
		if known, err = c.wait(loop.ReadSide); err != nil {
			return 0, err
		}
	}
}

// receive reads what there is into p, or fails with loop.ErrNotReady. known says that a wait has found the socket ready.
func (c *Conn) receive(p []byte, known bool) (int, error) {
	if c.secure != nil {
		return c.secure.receive(p, known)
	}
	if known || c.sock.Take(loop.ReadSide) {
		return c.sock.Recv(p)
	}
	return 0, loop.ErrNotReady
}

// Next waits until there is input and returns all that has come, up to 64 KiB, or what a Recv that failed has left: without copying it, and without a buffer of
// the connection's own while it waits. The slice is valid until the next call that reads. Errors are those of Read.
func (c *Conn) Next() ([]byte, error) {
	if err := c.lock(loop.ReadSide); err != nil {
		return nil, c.opError("read", err)
	}
	err := c.expired(loop.ReadSide)
	if err == nil && len(c.input.unread) == 0 {
		err = c.more(0)
	}
	var data []byte
	if err == nil {
		data = c.input.unread
		c.input.set(nil)
	}
	c.endRead(err)
	return data, c.readError(err)
}

// ReadSlice reads until the first delim and returns what came up to it and including it. The slice is valid until the next
// call that reads. If the input ends first, it returns what there is and io.EOF; if there is no delim in 64 KiB, these
// and bufio.ErrBufferFull. Other errors are those of Read, and lose nothing.
func (c *Conn) ReadSlice(delim byte) ([]byte, error) {
	if err := c.lock(loop.ReadSide); err != nil {
		return nil, c.opError("read", err)
	}
	var data []byte
	err := c.expired(loop.ReadSide)
	if err == nil {
		data, err = c.readSlice(delim)
	}
	c.endRead(err)
	return data, c.readError(err)
}

func (c *Conn) readSlice(delim byte) ([]byte, error) {
	in := &c.input
	for scanned := 0; ; {
		if i := bytes.IndexByte(in.unread[scanned:], delim); i >= 0 {
			if err := c.take(); err != nil {
				return nil, err
			}
			end := scanned + i + 1
			data := in.unread[:end]
			in.set(in.unread[end:])
			return data, nil
		}
		scanned = len(in.unread)
		var err error
		if scanned >= bufferSize {
			err = bufio.ErrBufferFull
		} else {
			err = c.more(0)
		}
		if err == io.EOF || err == bufio.ErrBufferFull {
			data := in.unread
			in.set(nil)
			return data, err
		}
		if err != nil {
			return nil, err
		}
	}
}

// more adds to the unread input, waiting if need be. end is as for room.
func (c *Conn) more(end int) error {
	in := &c.input
	if err := c.turnToSocket(); err != nil {
		return err
	}
	for known := false; ; {
		known = known || c.sock.Take(loop.ReadSide)
		if known || c.secure != nil { // which may have something without the socket
			room := in.room(end)
			n, err := c.receive(room, known)
			if c.closed.Load() {
				return net.ErrClosed // what came before may have been dropped
			}
			if n > 0 {
				in.streak += c.spent(n, len(room))
				in.set(in.unread[:len(in.unread)+n])
				return nil
			}
			if err != loop.ErrNotReady {
				return err
			}
		}
		in.park()
		in.streak = 0
		var err error
		if known, err = c.wait(loop.ReadSide); err != nil {
			return err
		}
	}
}

// turnToSocket is what comes before the socket is read: the answers to what has been read so far go out, and a handler
// that has had its share lets others go first.
func (c *Conn) turnToSocket() error {
	if c.output.gathered.Load() {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if c.input.streak >= turnBudget {
		c.giveWay()
	}
	return nil
}

func (c *Conn) giveWay() {
	c.input.streak = 0
	if t := c.self(); t != nil {
		t.giveWay()
	}
}

// take is what comes before a message is taken from input at hand: a handler that has had its share sends its answers and lets
// others go first.
func (c *Conn) take() error {
	if c.input.streak += messageCost; c.input.streak < turnBudget {
		return nil
	}
	if c.output.gathered.Load() {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.giveWay()
	return nil
}

func (c *Conn) readError(err error) error {
	if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF || err == bufio.ErrBufferFull {
		return err
	}
	if c.secure != nil && !isConnError(err) && !givesUp(err) {
		return err // of package crypto/tls, which says it all
	}
	return c.opError("read", err)
}
