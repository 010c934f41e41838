package coserver_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A script is what the two ends of one connection do, one after the other. Between two steps everything that has been sent
// arrives, so that what the next one returns is not a matter of timing.
type script []step

// end is one side of the connection while a script runs.
type end struct {
	who     who
	conn    net.Conn
	other   *end
	shaper  shaper
	fd      int
	begun   chan string // the result of a call that was begun, nil if there is none
	belongs func(call func())

	sent, received int
	closed         bool // Close has been called
	ended          bool // CloseWrite has been called
	deaf           bool // CloseRead has been called
	late           int  // what had been sent when the other end closed
	flooded        bool // more has been sent than the other end has room for
	broken         bool // the other end is gone, and this one knows
}

// pattern is a piece of the stream that this end sends: no two places of it look the same for long.
func (e *end) pattern(from, size int) []byte {
	p := make([]byte, size)
	for filled := 0; filled < size; {
		at := from + filled + int(e.who)*100
		filled += copy(p[filled:], noise[at%len(noise):])
	}
	return p
}

// noise is what is sent, again and again. Its length goes into no power of two.
var noise = func() []byte {
	p := make([]byte, 99_991)
	random := rand.NewChaCha8([32]byte{})
	random.Read(p)
	return p
}()

// check compares what has come with what the other end has sent there.
func (e *end) check(data []byte) (wrong string) {
	if want := e.other.pattern(e.received, len(data)); !bytes.Equal(want, data) {
		wrong = fmt.Sprintf(" WRONG BYTES from %d on", e.received)
	}
	e.received += len(data)
	return wrong
}

func (e *end) got(data []byte, n int, err error) string {
	wrong := e.check(data)
	return e.shaper.outcome(n, data, err) + wrong
}

// ends looks at both sides of p.
func (p *connection) ends(t *testing.T) [2]*end {
	t.Helper()
	local, remote := p.peer.RemoteAddr().String(), p.peer.LocalAddr().String()
	both := [2]*end{
		us:   {who: us, conn: p.subject, shaper: shaper{local, remote}, belongs: p.do},
		peer: {who: peer, conn: p.peer, shaper: shaper{remote, local}, belongs: func(call func()) { call() }},
	}
	both[us].other, both[peer].other = both[peer], both[us]
	for _, e := range both {
		e.fd = descriptor(t, e.conn)
	}
	return both
}

// run makes every step and returns the trace.
func (s script) run(t *testing.T, open func() *connection) (trace []string) {
	t.Helper()
	p := open()
	defer p.stop()
	both := p.ends(t)
	for _, step := range s {
		e := both[step.who]
		var result string
		switch {
		case step.mode == modeBegin:
			e.start(step)
			result = "begun"
		case step.mode == modeJoin:
			result = e.wait(t, trace)
			e.begun = nil
		case e.begun != nil: // its own goroutine is in that call
			result = step.call(e)
		default:
			e.start(step)
			result = e.wait(t, append(trace, step.String()))
			e.begun = nil
		}
		trace = append(trace, step.String()+": "+result)
		for _, e := range both {
			if e.other.begun == nil && e.begun == nil {
				e.settle(t, trace)
			}
		}
	}
	return trace
}

func (e *end) start(s step) {
	e.begun = make(chan string, 1)
	running := make(chan struct{})
	go e.belongs(func() {
		close(running)
		e.begun <- s.call(e)
	})
	<-running
	if s.mode == modeBegin {
		runtime.Gosched() // the call mostly waits by now; what it returns must not depend on that
	}
}

func (e *end) wait(t *testing.T, trace []string) string {
	t.Helper()
	select {
	case result := <-e.begun:
		return result
	case <-time.After(patience):
		require.FailNow(t, "a call does not return", strings.Join(trace, "\n"))
		return ""
	}
}
