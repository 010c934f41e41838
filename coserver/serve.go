package coserver

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"

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
		c.depart()
	}()
	err := c.handle()
	if c.output.gathered.Load() {
		_ = c.flush()
	}
	if c.sock.Acquire(loop.ReadSide) == loop.TurnTaken {
		c.input.giveBack()
		c.unlock(loop.ReadSide)
	}
	c.finish(ended(err))
	returned = true
	if err != nil && err != io.EOF && !isConnError(err) {
		c.run.server.report(c, err)
	}
}

// handle runs the handler, after the handshake if there is one.
func (c *Conn) handle() error {
	s := c.run.server
	if s.TLSConfig != nil {
		if err := c.startTLS(s.TLSConfig, s.handshakeTimeout()); err != nil {
			return err
		}
	}
	return s.Handler(c)
}

// fell ends a connection whose handler did not return.
func (c *Conn) fell(reason any) {
	err := ErrHandlerExited
	if reason != nil {
		err = &PanicError{Value: reason, Stack: debug.Stack()}
	}
	c.shut(err)
	c.run.server.report(c, err)
}

// ended is why a connection ends whose handler has returned err.
func ended(err error) error {
	if err == nil {
		return net.ErrClosed
	}
	return err
}

// report passes on what ended a connection other than its peer.
func (s *Server) report(c *Conn, err error) {
	if s.OnError != nil {
		s.OnError(c, err)
		return
	}
	attrs := []any{slog.Any("remote", c.RemoteAddr()), slog.Any("error", err)}
	var panicked *PanicError
	if errors.As(err, &panicked) {
		attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
	}
	s.logger().Error("connection ended", attrs...)
}
