package server

import (
	"bufio"
	"context"
	"errors"
	"net"

	"github.com/strand-net/strand/coserver"
)

// coServer is the sequential server: one plain function for each connection, on strand's loops.
type coServer struct {
	engine   *coserver.Engine
	server   *coserver.Server
	listener *coserver.Listener
}

func listenCoserver(o Options) (Server, error) {
	engine, err := coserver.NewEngine(coserver.EngineConfig{Loops: o.Loops})
	if err != nil {
		o.closeListener()
		return nil, err
	}
	s := &coServer{engine: engine, server: &coserver.Server{Engine: engine, Handler: coEcho, TLSConfig: o.TLS}}
	if o.Proto == ProtoLine {
		s.server.Handler = coLine
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

func (s *coServer) Addr() net.Addr { return s.listener.Addr() }

func (s *coServer) Serve() error {
	if err := s.server.Serve(s.listener); !errors.Is(err, coserver.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *coServer) Retire(ctx context.Context) error { return s.server.Retire(ctx) }

func (s *coServer) Shutdown(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	s.engine.Close()
	return err
}

func (s *coServer) Close() error {
	err := s.server.Close()
	s.engine.Close()
	return err
}
