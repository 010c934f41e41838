package coserver

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/strand-net/strand/loop"
)

// ErrHandlerExited is reported for a handler that ended its goroutine with runtime.Goexit (as testing's FailNow does).
var ErrHandlerExited = errors.New("coserver: handler called runtime.Goexit")

// PanicError is reported for a handler that panicked.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // of the goroutine, as debug.Stack gives it
}

// Error tells the value; the stack is a field.
func (e *PanicError) Error() string { return fmt.Sprintf("coserver: handler panicked: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// serve is the life of a connection: its handler, and what comes after it however it ends.
func (c *Conn) serve() {
	returned := false
	defer func() {
		if !returned {
			c.fell(recover())
		}
		if t := &c.task; t.visit != 0 && !t.onLoop() {
			c.cameBack()
		}
		c.depart()
	}()
	handled, err := c.handle()
	last := err
	if !errors.Is(err, ErrWriteTimeout) && c.output.gathered.Load() {
		last = c.flush()
	}
	if errors.Is(last, ErrWriteTimeout) {
		_ = c.SetLinger(0) // or the kernel goes on offering what the peer does not take
	}
	if c.sock.Acquire(loop.ReadSide) == loop.TurnTaken {
		c.input.giveBack()
		c.unlock(loop.ReadSide)
	}
	c.finish(causeOf(err))
	returned = true
	if err == nil || err == io.EOF || isConnError(err) || isLimit(err) {
		return
	}
	if handled {
		c.run.server.counters.handlerErrors.Add(1)
		c.run.server.report(c, err, endFailed)
	} else {
		c.run.server.report(c, err, endUnserved)
	}
}

// handle runs the handler, after the handshake if there is one. handled says that it came to that.
func (c *Conn) handle() (handled bool, err error) {
	s := c.run.server
	if config := s.currentTLSConfig(); config != nil {
		if err := c.startTLS(config, s.handshakeTimeout()); err != nil {
			return false, err
		}
	}
	if s.Labels {
		c.labelled(func() { err = s.currentHandler()(c) })
		return true, err
	}
	return true, s.currentHandler()(c)
}

// fell ends a connection whose handler did not return.
func (c *Conn) fell(reason any) {
	err := ErrHandlerExited
	if reason != nil {
		err = &PanicError{Value: reason, Stack: debug.Stack()}
	}
	c.shut(err)
	c.run.server.counters.panics.Add(1)
	c.run.server.report(c, err, endFell)
}

// causeOf is why a connection ends whose handler has returned err.
func causeOf(err error) error {
	if err == nil {
		return net.ErrClosed
	}
	return err
}

// How a connection has ended other than by its peer.
const (
	endUnserved = iota // its handler has not begun
	endFailed          // it has returned an error
	endFell            // it has not returned
	endKinds
)

// report passes on what ended a connection. The logger gets one of each kind in a second, for clients may be able to make it happen
// as often as they like.
func (s *Server) report(c *Conn, err error, kind int) {
	if s.OnError != nil {
		s.OnError(c, err)
	} else if dropped, ok := s.logs[kind].take(time.Now()); ok {
		s.log(c, err, dropped)
	}
}

// logLimit lets through one line in a second.
type logLimit struct {
	mu      sync.Mutex
	last    time.Time
	dropped int // since the last
}

// take reports whether a line may be written now, and how many have been dropped since the last.
func (l *logLimit) take(now time.Time) (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && now.Sub(l.last) < time.Second {
		l.dropped++
		return 0, false
	}
	dropped, l.dropped, l.last = l.dropped, 0, now
	return dropped, true
}

func (s *Server) log(c *Conn, err error, dropped int) {
	attrs := []any{slog.Uint64("id", c.ID()), slog.String("local", c.LocalAddr().String()), slog.String("remote", c.RemoteAddr().String()),
		slog.Duration("age", c.Age()), slog.Any("error", err)}
	s.logger().Error("connection ended", append(attrs, failureAttrs(err, dropped)...)...)
}

// failureAttrs are what a line in the log says besides: how many were left out, and where it was, if that is known.
func failureAttrs(err error, dropped int) (attrs []any) {
	if dropped > 0 {
		attrs = append(attrs, slog.Int("not logged", dropped))
	}
	var panicked *PanicError
	if errors.As(err, &panicked) {
		attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
	}
	return attrs
}
