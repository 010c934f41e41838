package server

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"

	"github.com/strand-net/strand/coserver"
)

// ProtoUDPEcho sends every datagram back to where it came from; not with engine loop.
const ProtoUDPEcho = "udp-echo"

// udpReadBuffer is what the kernel holds of what has come and has not been read, as far as net.core.rmem_max lets it: a thousand peers that send at
// once fill the default.
const udpReadBuffer = 4 << 20

// udpBuffer is what each goroutine of engine net reads with, in bytes: what a datagram can have.
const udpBuffer = 1 << 16

func listenUDP(o Options) (Server, error) {
	if o.Engine == EngineNet {
		return listenNetUDP(o)
	}
	engine, err := coserver.NewEngine(o.engineConfig())
	if err != nil {
		return nil, err
	}
	s := &coUDP{engine: engine, server: &coserver.PacketServer{Engine: engine, Handler: coUDPEcho, ReadBuffer: udpReadBuffer}}
	switch o.Carrier {
	case CarrierInline:
		s.server.Carrier = coserver.Inline
	case CarrierChannel:
		s.server.Carrier = coserver.Channel
	}
	if s.listener, err = s.server.Listen("udp", o.Addr); err != nil {
		engine.Close()
		return nil, err
	}
	return s, nil
}

// coUDP is the sequential server: one plain function for each peer.
type coUDP struct {
	engine   *coserver.Engine
	server   *coserver.PacketServer
	listener *coserver.PacketListener
}

func coUDPEcho(s *coserver.PacketSession) error {
	for {
		data, err := s.Next()
		if err != nil {
			return err
		}
		if _, err := s.Write(data); err != nil {
			return err
		}
	}
}

func (s *coUDP) Addr() net.Addr { return s.listener.Addr() }

func (s *coUDP) Stats() Stats {
	engine := s.engine.Stats()
	return Stats{Engine: &engine}
}

func (s *coUDP) Serve() error {
	if err := s.server.Serve(s.listener); !errors.Is(err, coserver.ErrServerClosed) {
		return err
	}
	return nil
}

// Retire waits for nobody: a peer of UDP does not know that it is one.
func (s *coUDP) Retire(ctx context.Context) error { return s.Shutdown(ctx) }

func (s *coUDP) Shutdown(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	s.engine.Close()
	return err
}

func (s *coUDP) Close() error {
	err := s.server.Close()
	s.engine.Close()
	return err
}

// netUDP is the idiomatic server on package net: one socket, and a goroutine for each processor that takes a datagram and sends it back.
type netUDP struct {
	conn   *net.UDPConn
	ending sync.Once
	ended  chan struct{}
}

func listenNetUDP(o Options) (Server, error) {
	addr, err := net.ResolveUDPAddr("udp", o.Addr)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadBuffer(udpReadBuffer); err != nil {
		conn.Close()
		return nil, err
	}
	return &netUDP{conn: conn, ended: make(chan struct{})}, nil
}

func (s *netUDP) Addr() net.Addr { return s.conn.LocalAddr() }

func (s *netUDP) Stats() Stats { return Stats{} }

func (s *netUDP) Serve() error {
	defer close(s.ended)
	var failed error
	var once sync.Once
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			if err := s.echo(); !errors.Is(err, net.ErrClosed) {
				once.Do(func() { failed = err })
				s.conn.Close()
			}
		})
	}
	all.Wait()
	return failed
}

func (s *netUDP) echo() error {
	buffer := make([]byte, udpBuffer)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return err
		}
		// What cannot be sent to one peer is no reason to stop.
		if _, err := s.conn.WriteToUDPAddrPort(buffer[:n], from); errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}

func (s *netUDP) Retire(ctx context.Context) error { return s.Shutdown(ctx) }

func (s *netUDP) Shutdown(ctx context.Context) error {
	s.ending.Do(func() { s.conn.Close() })
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *netUDP) Close() error {
	s.ending.Do(func() { s.conn.Close() })
	return nil
}
