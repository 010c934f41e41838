package server

import (
	"bufio"
	"context"
	"errors"
	"net"
	"time"

	"github.com/strand-net/strand/coserver"
)

// coServer is the sequential server: one plain function for each connection, on strand's loops.
type coServer struct {
	engine   *coserver.Engine
	server   *coserver.Server
	listener *coserver.Listener
	blocking *blocking
	rooms    rooms[*coserver.Conn] // of protocol broadcast
}

// engineConfig is for all that runs on engine coserver.
func (o Options) engineConfig() coserver.EngineConfig {
	return coserver.EngineConfig{Loops: o.Loops, TakeOverAfter: takeOverAfter(o.TakeOverAfter), LagInterval: o.LagInterval, OverNet: o.OverNet}
}

// takeOverAfter returns d as an EngineConfig has it.
func takeOverAfter(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func listenCoserver(o Options) (Server, error) {
	engine, err := coserver.NewEngine(o.engineConfig())
	if err != nil {
		o.closeListener()
		return nil, err
	}
	s := &coServer{engine: engine, server: &coserver.Server{Engine: engine, Handler: coEcho, TLSConfig: o.TLS}}
	s.blocking = newBlocking(o.Block, park)
	switch o.Proto {
	case ProtoLine:
		s.server.Handler = coLine
	case ProtoLength:
		s.server.Handler, s.server.Framing = coLength, lengthFraming()
	case ProtoBlock:
		s.server.Handler = s.blocking.coEcho
	case ProtoSink:
		s.server.Handler = coStream(sink)
	case ProtoPush:
		s.server.Handler = coStream(push)
	case ProtoBroadcast:
		s.server.Handler, s.server.Framing = s.coBroadcast, lengthFraming()
	}
	switch o.Carrier {
	case CarrierInline:
		s.server.Carrier = coserver.Inline
	case CarrierChannel:
		s.server.Carrier = coserver.Channel
	}
	if o.Listener != nil {
		s.listener, err = s.server.Adopt(o.Listener)
	} else {
		s.listener, err = s.server.Listen("tcp", o.Addr)
	}
	if err != nil {
		o.closeListener()
		engine.Close()
		return nil, err
	}
	return s, nil
}

func coEcho(c *coserver.Conn) error {
	for {
		data, err := c.Next()
		if err != nil {
			return err
		}
		if _, err := c.Write(data); err != nil {
			return err
		}
	}
}

// coLine is as naive as netLine: one Write for each line.
func coLine(c *coserver.Conn) error {
	for {
		line, err := c.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := c.Write(line); err != nil {
			return err
		}
	}
}

func (s *blocking) coEcho(c *coserver.Conn) error {
	if b := s.begin(); b != nil {
		return b.coEcho(c)
	}
	return coEcho(c)
}

// coEcho blocks before each answer. It reads into memory of its own: what Next lends would be its for as long as it blocks.
func (b *blocker) coEcho(c *coserver.Conn) error {
	buf := make([]byte, netBuffer)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		b.block()
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// park is sleep without holding up a loop.
func park(over context.Context, d time.Duration) error {
	for end := time.Now().Add(d); d > 0 && over.Err() == nil; d = time.Until(end) {
		_ = coserver.Sleep(context.Background(), min(d, longestSleep))
	}
	return over.Err()
}

func (s *coServer) Addr() net.Addr { return s.listener.Addr() }

func (s *coServer) Stats() Stats {
	engine, server := s.engine.Stats(), s.server.Stats()
	return Stats{&engine, &server}
}

func (s *coServer) Serve() error {
	if err := s.server.Serve(s.listener); !errors.Is(err, coserver.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *coServer) Retire(ctx context.Context) error { return s.server.Retire(ctx) }

func (s *coServer) Shutdown(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	s.blocking.interrupt() // the engine waits for the handlers; their connections are closed, so nobody answers too early
	s.engine.Close()
	return err
}

func (s *coServer) Close() error {
	err := s.server.Close()
	s.blocking.interrupt()
	s.engine.Close()
	return err
}
