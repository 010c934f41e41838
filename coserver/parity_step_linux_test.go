package coserver_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// step is one call on one end.
type step struct {
	who  who
	name string
	call func(e *end) string // returns what the trace is to say
	mode mode
}

func (s step) String() string { return s.who.String() + "." + s.name }

type mode uint8

const (
	modeCall  mode = iota
	modeBegin      // the call waits for what comes later
	modeJoin       // the call that was begun on this end must be over
)

// who says whose end a step is for.
type who uint8

const (
	us   who = iota // the connection that is compared
	peer            // the other end
)

func (w who) String() string { return [...]string{"us", "peer"}[w] }

func (w who) step(name string, call func(e *end) string) step {
	return step{who: w, name: name, call: call}
}

func (w who) read(size int) step {
	return w.step(fmt.Sprintf("Read(%d)", size), func(e *end) string {
		p := make([]byte, size)
		n, err := e.conn.Read(p)
		return e.got(p[:n], n, err)
	})
}

func (w who) readFull(size int) step {
	return w.step(fmt.Sprintf("ReadFull(%d)", size), func(e *end) string {
		p := make([]byte, size)
		var n int
		var err error
		if own, ok := e.conn.(interface{ ReadFull(p []byte) (int, error) }); ok {
			n, err = own.ReadFull(p)
		} else {
			n, err = io.ReadFull(e.conn, p)
		}
		return e.got(p[:n], n, err)
	})
}

// copyOut reads until the end, by WriteTo where there is one.
func (w who) copyOut() step {
	return w.step("Copy", func(e *end) string {
		var all bytes.Buffer
		n, err := io.Copy(&all, e.conn)
		return e.got(all.Bytes(), int(n), err)
	})
}

func (w who) write(size int) step {
	return w.step(fmt.Sprintf("Write(%d)", size), func(e *end) string {
		p := e.pattern(e.sent, size)
		n, err := e.conn.Write(p)
		e.sent += n
		return e.shaper.outcome(n, nil, err)
	})
}

// writev writes pieces of these sizes as one. Package net has no method for that but a function.
func (w who) writev(sizes ...int) step {
	return w.step(fmt.Sprintf("Writev(%d pieces)", len(sizes)), func(e *end) string {
		var pieces net.Buffers
		size := 0
		for _, n := range sizes {
			pieces = append(pieces, e.pattern(e.sent+size, n))
			size += n
		}
		var n int64
		var err error
		if own, ok := e.conn.(interface{ Writev([][]byte) (int64, error) }); ok {
			n, err = own.Writev(pieces)
		} else {
			n, err = pieces.WriteTo(e.conn)
		}
		e.sent += int(n)
		return e.shaper.outcome(int(n), nil, err)
	})
}

// flood writes more than the kernel takes. How much that is is the kernel's affair; the peer checks that it is what the
// count says. It must be the first that we write.
func (w who) flood() step {
	return w.step("Write(flood)", func(e *end) string {
		p := floodOfOurs()
		n, err := e.conn.Write(p)
		e.sent += n
		e.flooded = true
		if n > 0 && n < len(p) {
			return "a part, " + e.shaper.shape(err)
		}
		return e.shaper.outcome(n, nil, err)
	})
}

// floodOfOurs is big: it is made once.
var floodOfOurs = sync.OnceValue(func() []byte { return (&end{who: us}).pattern(0, 16<<20) })

// drain reads all that a flood has left on its way.
func (w who) drain() step {
	return w.step("Read(drain)", func(e *end) string {
		p := make([]byte, e.other.sent-e.received)
		n, err := io.ReadFull(e.conn, p)
		e.other.flooded = false
		wrong := e.check(p[:n])
		return fmt.Sprintf("all=%t %s%s", n == len(p), e.shaper.shape(err), wrong)
	})
}

// awaitInput returns when something has come, and leaves it there.
func (w who) awaitInput() step {
	return w.step("await input", func(e *end) string {
		for begin := time.Now(); time.Since(begin) < patience; runtime.Gosched() {
			if n, err := unix.IoctlGetInt(e.fd, unix.TIOCINQ); err != nil || n > 0 {
				return fmt.Sprint(n > 0, err)
			}
		}
		return "nothing comes"
	})
}

// writeUntilError writes bytes until that fails. How long it takes for the news to come is not the engine's affair.
func (w who) writeUntilError() step {
	return w.step("Write(until it fails)", func(e *end) string {
		for begin := time.Now(); time.Since(begin) < patience; {
			if _, err := e.conn.Write([]byte{0}); err != nil {
				return e.shaper.shape(err)
			}
		}
		return "did not fail"
	})
}

func (w who) close() step {
	return w.step("Close()", func(e *end) string {
		e.closed = true
		return e.shaper.shape(e.conn.Close())
	})
}

func (w who) closeWrite() step {
	return w.step("CloseWrite()", func(e *end) string {
		e.ended = true
		return e.shaper.shape(e.conn.(interface{ CloseWrite() error }).CloseWrite())
	})
}

func (w who) closeRead() step {
	return w.step("CloseRead()", func(e *end) string {
		e.deaf = true
		return e.shaper.shape(e.conn.(interface{ CloseRead() error }).CloseRead())
	})
}

// reset cuts the connection so that the other end is told. Unix sockets cannot, but when input is lost.
func (w who) reset() step {
	return w.step("reset", func(e *end) string {
		e.closed = true
		if _, ok := e.conn.LocalAddr().(*net.TCPAddr); ok {
			if err := e.conn.(interface{ SetLinger(int) error }).SetLinger(0); err != nil {
				return err.Error()
			}
		}
		return e.shaper.shape(e.conn.Close())
	})
}

// Deadlines, from the moment of the call.
const (
	past = -time.Hour
	none = time.Duration(0)
	near = 10 * time.Millisecond
	soon = 300 * time.Millisecond // leaves time for something to be done before
	far  = time.Hour
)

func (w who) deadline(side string, from time.Duration) step {
	return w.step(fmt.Sprintf("Set%sDeadline(%v)", side, from), func(e *end) string {
		var at time.Time
		if from != none {
			at = time.Now().Add(from)
		}
		set := map[string]func(time.Time) error{
			"": e.conn.SetDeadline, "Read": e.conn.SetReadDeadline, "Write": e.conn.SetWriteDeadline,
		}
		return e.shaper.shape(set[side](at))
	})
}

// options sets what a connection of TCP has to be set.
func (w who) options() step {
	return w.step("options", func(e *end) string {
		c := e.conn.(interface {
			SetNoDelay(bool) error
			SetKeepAlive(bool) error
			SetKeepAlivePeriod(time.Duration) error
			SetKeepAliveConfig(net.KeepAliveConfig) error
			SetLinger(int) error
			SetReadBuffer(int) error
			SetWriteBuffer(int) error
		})
		var results []string
		for _, err := range []error{c.SetNoDelay(true), c.SetKeepAlive(true), c.SetKeepAlivePeriod(time.Minute),
			c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}), c.SetLinger(-1), c.SetReadBuffer(100_000), c.SetWriteBuffer(100_000)} {
			results = append(results, e.shaper.shape(err))
		}
		return strings.Join(results, "; ")
	})
}

// control asks for the descriptor. Which of the two calls says that there is none any more is all the same.
func (w who) control() step {
	return w.step("Control", func(e *end) string {
		raw, err := e.conn.(syscall.Conn).SyscallConn()
		if err == nil {
			err = raw.Control(func(uintptr) {})
		}
		return e.shaper.shape(err)
	})
}

// addresses tells the two addresses, before and after Close.
func (w who) addresses() step {
	return w.step("addresses", func(e *end) string {
		return e.shaper.addr(e.conn.LocalAddr()) + " " + e.shaper.addr(e.conn.RemoteAddr())
	})
}

// begin makes a call that waits while the script goes on, and join is its end.
func begin(s step) step {
	s.mode = modeBegin
	s.name = "begin " + s.name
	return s
}

func (w who) join() step { return step{who: w, name: "join", mode: modeJoin} }
