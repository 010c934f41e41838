package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Kinds of errors that are no system call's.
const (
	kindClosed       = "closed by the server"
	kindContent      = "wrong content"
	kindStalled      = "stalled"
	kindConnect      = "connect: no answer"
	kindHandshake    = "tls: handshake failed"
	kindTLS          = "tls"
	kindNoConnection = "planned on a connection that had ended"
)

// fail gives connection c up, with all that was to happen there. It returns err only if that ends the run.
func (w *worker) fail(c *conn, kind string, err error) error {
	err = fmt.Errorf("connection %d of %d to %v: %w", c.id+1, w.total, w.remoteOf(c), err)
	if w.opts.FailFast {
		return err
	}
	if len(w.seg.faults) < maxFaults {
		w.seg.faults = append(w.seg.faults, err.Error())
	}
	if c.state == stateOpen {
		w.openConns--
	}
	if w.work == workChurn {
		w.revisit(c, kind)
		return nil
	}
	lost := c.operations(w.opts.Batch)
	w.inFlight -= lost
	if c.more != nil {
		w.forget(c)
	}
	w.queued -= c.waiting.len()
	w.seg.failed(kind, int64(max(1, lost+c.waiting.len())))
	w.discard(c)
	return nil
}

// discard closes connection c and forgets what was on its way.
func (w *worker) discard(c *conn) {
	w.closeSocket(c)
	*c = conn{fd: -1, state: stateEnded, id: c.id, role: c.role}
}

// suspect gathers what has come since the first wrong byte, until a whole message is there.
func (w *worker) suspect(c *conn, data []byte) error {
	if c.suspect == nil {
		c.suspect = []byte{}
		if c.head != c.tail { // what was right of it
			c.suspect = make([]byte, c.headAt)
			w.payload.fill(c.suspect, c.slot(c.head), 0)
		}
	}
	c.suspect = append(c.suspect, data...)
	if c.due > 0 && len(w.payload.cut(c.suspect, w.size)) == 0 && len(c.suspect) < MaxSize {
		return nil
	}
	return w.accuse(c)
}

// cut returns the first message of data; nothing if it is not whole, or nobody can say where it ends.
func (p *payload) cut(data []byte, fixed int) []byte {
	size := fixed
	switch p.framing {
	case FramingLength:
		if len(data) < lengthHeader {
			return nil
		}
		size = lengthHeader + int(binary.BigEndian.Uint32(data))
	case FramingLine:
		size = bytes.IndexByte(data, '\n') + 1
	}
	if size <= 0 || size > len(data) {
		return nil
	}
	return data[:size]
}

// accuse says what is wrong with what has come back, and counts it.
func (w *worker) accuse(c *conn) error {
	check := &w.seg.check
	if c.head == c.sent && c.headAt == 0 && c.sentAt == 0 {
		if s, right := w.payload.read(w.payload.cut(c.suspect, w.size)); right && s.conn == c.id && s.seq < c.seq {
			check.Duplicated++
			return w.fail(c, kindContent, fmt.Errorf("message %d came back again", s.seq+1))
		}
		check.Corrupt++
		return w.fail(c, kindContent, fmt.Errorf("0x%02x came back although nothing was due", c.suspect[0]))
	}
	m := c.slot(c.head)
	due := c.seq - (c.tail - c.head)
	first := w.payload.cut(c.suspect, w.size)
	s, right := w.payload.read(first)
	switch {
	case right && s.conn != c.id:
		check.Corrupt++
		return w.fail(c, kindContent, fmt.Errorf("a message of connection %d came back", s.conn+1))
	case right && s.seq < due:
		check.Duplicated++
		return w.fail(c, kindContent, fmt.Errorf("message %d came back again instead of message %d", s.seq+1, due+1))
	case right && s.seq > due && w.follows(c.suspect[len(first):], due):
		check.Reordered++
		return w.fail(c, kindContent, fmt.Errorf("message %d came back before message %d", s.seq+1, due+1))
	case right && s.seq > due:
		check.Lost += int64(s.seq - due)
		return w.fail(c, kindContent, fmt.Errorf("message %d came back instead of message %d", s.seq+1, due+1))
	}
	check.Corrupt++
	want := make([]byte, m.size)
	w.payload.fill(want, m, 0)
	return w.fail(c, kindContent, wrongByte(due, want, c.suspect))
}

// wrongByte tells of the first one that is wrong in the answer to message number.
func wrongByte(number uint32, want, got []byte) error {
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	if at == len(got) || at == len(want) { // it cannot be: something was wrong
		return errors.New("a wrong byte came back")
	}
	return fmt.Errorf("message %d, byte %d of %d: a wrong byte came back: 0x%02x, not 0x%02x", number+1, at+1, len(want), got[at], want[at])
}

// follows reports whether message seq is in data.
func (w *worker) follows(data []byte, seq uint32) bool {
	for {
		whole := w.payload.cut(data, w.size)
		if len(whole) == 0 {
			return false
		}
		if s, right := w.payload.read(whole); right && s.seq == seq {
			return true
		}
		data = data[len(whole):]
	}
}
