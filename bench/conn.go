package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/strand-net/strand/poller"
)

// conn is one connection of the generator and its batch.
type conn struct {
	fd        int
	connected bool
	busy      bool   // a batch is in flight
	batch     []byte // what is sent, and has to come back
	sent, got int    // bytes of the batch
	begun     int64  // when the batch was begun, kernel time in ns
	heard     int64  // when something last happened here, to within an iteration
}

var errClosedByServer = errors.New("the server closed it")

// begin sends a new batch on connection i.
func (g *generator) begin(i int, now int64) error {
	c := &g.conns[i]
	c.sent, c.got, c.begun, c.heard, c.busy = 0, 0, now, now, true
	g.inFlight++
	return g.push(i, c)
}

// complete counts the batch of connection i, and begins the next: the closed loop.
func (g *generator) complete(i int) error {
	c := &g.conns[i]
	now := g.kernel.Nanotime()
	c.busy = false
	g.inFlight--
	g.batches++
	if g.result.Latency.RecordValue(now-c.begun) != nil {
		g.result.OverRange++
	}
	if g.phase == phaseDrain {
		return nil
	}
	return g.begin(i, now)
}

// dispatch does for connection i what it has become ready for.
func (g *generator) dispatch(i int, ready poller.Readiness) error {
	c := &g.conns[i]
	ended := ready&(poller.ReadClosed|poller.Closed) != 0
	for more := ready&poller.Readable != 0; more; {
		var err error
		if more, err = g.pull(i, c, ended); err != nil {
			return err
		}
	}
	if ready&poller.Writable != 0 && c.busy && c.sent < len(c.batch) {
		return g.push(i, c)
	}
	return nil
}

// push sends of the batch what the socket takes. A Writable event continues it.
func (g *generator) push(i int, c *conn) error {
	for c.sent < len(c.batch) {
		n, errno := g.kernel.Send(c.fd, c.batch[c.sent:])
		switch errno {
		case 0:
			c.sent += n
		case syscall.EAGAIN:
			return nil
		case syscall.EINTR:
		default:
			return g.fault(i, os.NewSyscallError("send", errno))
		}
	}
	return nil
}

// pull reads once and checks what has come back; more says that it must be called again. It asks for one byte more than
// is due, so a surplus byte cannot hide in the next batch, and a read of the last byte due is short. A short read has
// drained the socket, unless the peer's end lies behind the data: no further event would tell of that.
func (g *generator) pull(i int, c *conn, ended bool) (more bool, err error) {
	want := c.batch[c.got:c.sent]
	asked := min(len(want)+1, len(g.buf))
	n, errno := g.kernel.Recv(c.fd, g.buf[:asked])
	switch {
	case errno == syscall.EAGAIN:
		return false, nil
	case errno == syscall.EINTR:
		return true, nil
	case errno != 0:
		return false, g.fault(i, os.NewSyscallError("recv", errno))
	case n == 0:
		return false, g.fault(i, fmt.Errorf("%w after %d of %d bytes of a batch", errClosedByServer, c.got, len(c.batch)))
	}
	c.heard = g.now
	if wrong := checkReply(g.buf[:n], want); wrong != nil {
		return false, g.fault(i, fmt.Errorf("byte %d of a batch of %d: %w", c.got+wrong.at+1, len(c.batch), wrong))
	}
	more = ended || n == asked
	if c.got += n; c.got == len(c.batch) {
		return more, g.complete(i)
	}
	return more, nil
}

// replyError says how a reply differs from what was sent.
type replyError struct {
	at        int // offset of the first difference
	got, want []byte
}

func (e *replyError) Error() string {
	if len(e.want) == 0 {
		return fmt.Sprintf("came back although nothing was due: 0x%02x", e.got[0])
	}
	return fmt.Sprintf("a wrong byte came back: 0x%02x, not 0x%02x", e.got[0], e.want[0])
}

// checkReply compares what has come back with what was due.
func checkReply(got, want []byte) *replyError {
	if len(got) <= len(want) && bytes.Equal(got, want[:len(got)]) {
		return nil
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	return &replyError{at: at, got: got[at:], want: want[at:]}
}
