package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"github.com/strand-net/strand/loop"
)

// loopServer is the event server: callbacks on strand's loops.
type loopServer struct {
	engine   *loop.Engine
	listener *loop.Listener
	original net.Listener // what listener was made of, or nil
	handler  loop.Handler
	over     chan struct{}
	end      sync.Once

	mu      sync.Mutex
	conns   map[*loop.Conn]struct{}
	closing bool
	idle    chan struct{} // closed when closing and conns is empty
}

func listenLoop(o Options) (Server, error) {
	engine, err := loop.NewEngine(loop.Config{Loops: o.Loops})
	if err != nil {
		o.closeListener()
		return nil, err
	}
	s := &loopServer{engine: engine, original: o.Listener, over: make(chan struct{}), conns: make(map[*loop.Conn]struct{}), idle: make(chan struct{})}
	s.handler = loopEcho{s}
	switch o.Proto {
	case ProtoLine:
		s.handler = loopLine{s}
	case ProtoSink:
		s.handler = loopSink{s}
	}
	if s.listener, err = s.listen(o); err != nil {
		o.closeListener()
		engine.Close()
		return nil, err
	}
	return s, nil
}

func (s *loopServer) listen(o Options) (*loop.Listener, error) {
	if o.Listener == nil {
		return s.engine.Listen("tcp", o.Addr)
	}
	original, ok := o.Listener.(interface {
		net.Listener
		syscall.Conn
	})
	if !ok {
		return nil, fmt.Errorf("listener: a %T has no descriptor", o.Listener)
	}
	return s.engine.Adopt(original)
}

func (s *loopServer) stopListening() {
	s.listener.Close()
	if s.original != nil {
		s.original.Close()
	}
}

func (s *loopServer) OnOpen(c *loop.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
}

func (s *loopServer) OnClose(c *loop.Conn, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.closing && len(s.conns) == 0 {
		close(s.idle)
	}
}

type loopEcho struct{ *loopServer }

// OnData stops reading from a peer that does not take its answers: a refused Write must not lose any.
func (loopEcho) OnData(c *loop.Conn, data []byte) {
	if _, err := c.Write(data); err != nil {
		c.CloseNow()
	}
}

func (loopEcho) OnPressure(c *loop.Conn, high bool) { pressure(c, high) }

func pressure(c *loop.Conn, high bool) {
	if high {
		c.Pause()
	} else {
		c.Resume()
	}
}

type loopSink struct{ *loopServer }

func (loopSink) OnData(*loop.Conn, []byte) {}

// loopLine keeps the beginning of a line as the connection's value.
type loopLine struct{ *loopServer }

func (loopLine) OnData(c *loop.Conn, data []byte) {
	begun, _ := c.Value().([]byte)
	for {
		line, rest, whole := bytes.Cut(data, newline)
		if len(begun)+len(line) >= MaxLine {
			c.CloseNow()
			return
		}
		if !whole {
			break
		}
		line = data[:len(line)+1]
		if len(begun) > 0 {
			line, begun = append(begun, line...), begun[:0]
		}
		if _, err := c.Write(line); err != nil {
			c.CloseNow()
			return
		}
		data = rest
	}
	if len(data) > 0 || c.Value() != nil {
		c.SetValue(append(begun, data...))
	}
}

var newline = []byte{'\n'}

func (loopLine) OnPressure(c *loop.Conn, high bool) { pressure(c, high) }

func (s *loopServer) Addr() net.Addr { return s.listener.Addr() }

func (s *loopServer) Stats() Stats { return Stats{} }

func (s *loopServer) Serve() error {
	err := s.listener.Start(loop.Service{Handler: s.handler})
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, loop.ErrEngineClosed) {
		return err
	}
	<-s.over
	return nil
}

func (s *loopServer) Retire(ctx context.Context) error {
	s.stopListening()
	select {
	case <-s.listener.Settled():
		return s.wait(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *loopServer) Shutdown(ctx context.Context) error {
	s.stopListening()
	err := s.wait(ctx)
	s.Close()
	return err
}

// wait returns when there is no connection left.
func (s *loopServer) wait(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		if len(s.conns) == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	select {
	case <-s.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *loopServer) Close() error {
	s.end.Do(func() {
		s.stopListening()
		s.engine.Close()
		close(s.over)
	})
	return nil
}
