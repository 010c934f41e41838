package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// netBuffer is what each connection reads with, in bytes.
const netBuffer = MaxLine

// netServer is the idiomatic server on package net: a goroutine for each connection.
type netServer struct {
	listener net.Listener
	handler  func() func(net.Conn) // returns the one of the connection that was accepted last
	blocking *blocking

	mu        sync.Mutex
	conns     map[net.Conn]struct{}
	closed    bool      // no new connections
	accepting bool      // one may be on its way into conns
	idle      sync.Cond // broadcast when conns has become empty, and when accepting ends
}

func listenNet(o Options) (Server, error) {
	listener, err := o.listen()
	if err != nil {
		return nil, err
	}
	if o.TLS != nil {
		listener = tls.NewListener(listener, o.TLS)
	}
	s := &netServer{listener: listener, handler: always(netEcho), conns: make(map[net.Conn]struct{})}
	s.blocking = newBlocking(o.Block, sleep)
	switch o.Proto {
	case ProtoLine:
		s.handler = always(netLine)
	case ProtoLength:
		s.handler = always(netLength)
	case ProtoBlock:
		s.handler = s.blocking.netHandler
	case ProtoSink:
		s.handler = always(func(conn net.Conn) { _ = sink(conn) })
	case ProtoPush:
		s.handler = always(func(conn net.Conn) { _ = push(conn) })
	case ProtoBroadcast:
		s.handler = always(new(netHub).serve)
	}
	s.idle.L = &s.mu
	return s, nil
}

func always(handle func(net.Conn)) func() func(net.Conn) {
	return func() func(net.Conn) { return handle }
}

func netEcho(conn net.Conn) {
	buf := make([]byte, netBuffer)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if _, err := conn.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// netLine is naive on purpose: one Write, and so one system call, for each line.
func netLine(conn net.Conn) {
	reader := bufio.NewReaderSize(conn, netBuffer)
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return
		}
		if _, err := conn.Write(line); err != nil {
			return
		}
	}
}

func (s *blocking) netHandler() func(net.Conn) {
	if b := s.begin(); b != nil {
		return b.netEcho
	}
	return netEcho
}

// netEcho blocks before each answer.
func (b *blocker) netEcho(conn net.Conn) {
	buf := make([]byte, netBuffer)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			b.block()
			if _, err := conn.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *netServer) Addr() net.Addr { return s.listener.Addr() }

func (s *netServer) Stats() Stats { return Stats{} }

func (s *netServer) Serve() error {
	s.setAccepting(true)
	defer s.setAccepting(false)
	for {
		conn, err := s.listener.Accept()
		switch {
		case err == nil:
			s.start(conn)
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED):
			time.Sleep(5 * time.Millisecond) // the listener is sound: descriptors come back when connections end
		default:
			return err
		}
	}
}

func (s *netServer) setAccepting(accepting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepting = accepting
	s.idle.Broadcast()
}

func (s *netServer) start(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return
	}
	s.conns[conn] = struct{}{}
	handle := s.handler()
	go func() {
		defer s.end(conn)
		handle(conn)
	}()
}

func (s *netServer) end(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	if len(s.conns) == 0 {
		s.idle.Broadcast()
	}
}

func (s *netServer) Retire(ctx context.Context) error {
	s.listener.Close()
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.idle.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for (s.accepting || len(s.conns) > 0) && ctx.Err() == nil {
		s.idle.Wait()
	}
	return ctx.Err()
}

func (s *netServer) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.listener.Close()
	stop := context.AfterFunc(ctx, s.closeConns)
	defer stop()
	if s.wait() && ctx.Err() != nil {
		return ctx.Err()
	}
	return nil
}

// wait returns when no connection is left, and reports whether there was one.
func (s *netServer) wait() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waited := len(s.conns) > 0
	for len(s.conns) > 0 {
		s.idle.Wait()
	}
	return waited
}

func (s *netServer) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.listener.Close()
	s.closeConns()
	s.wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *netServer) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
	s.blocking.interrupt() // nobody can answer too early now
}
