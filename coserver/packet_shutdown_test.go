package coserver_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// Shutdown ends sessions that wait, lets those finish that are busy, and sends their answers. Then the address is free, and the server can begin again.
func TestPacketShutdown(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		busy, goOn := make(chan struct{}, 1), make(chan struct{})
		told := make(chan error, 1)
		s := &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 100)
			for {
				n, err := s.Read(buffer)
				if err != nil {
					return err
				}
				if string(buffer[:n]) == "busy" {
					busy <- struct{}{}
					<-s.ServerContext().Done()
					told <- context.Cause(s.ServerContext())
					<-goOn
				}
				if _, err := s.Write(buffer[:n]); err != nil {
					return err
				}
			}
		}}
		addr := startPackets(t, s)
		waiting, working := dial(t, addr), dial(t, addr)
		exchangePacket(t, waiting, "waits for more")
		for _, message := range []string{"busy", "has come before"} {
			_, err := io.WriteString(working, message)
			require.NoError(t, err)
		}
		receive(t, busy)
		eventually(t, func() bool { return s.Stats().Waiting > 0 }, "the second has been received")
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		require.ErrorIs(t, receive(t, told), coserver.ErrServerClosed)
		eventually(t, func() bool { return s.Stats().Active == 1 }, "the session that waits is over")
		_, err := s.Listen("udp", "127.0.0.1:0")
		require.ErrorIs(t, err, coserver.ErrServerClosed)
		close(goOn)
		require.NoError(t, receive(t, done))
		expectPacket(t, working, "busy")
		expectPacket(t, working, "has come before")

		require.Nil(t, s.Addr())
		require.NoError(t, s.Shutdown(t.Context()), "it is not started")
		ln, err := s.Listen("udp", addr.String()) // the address is free
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		exchangePacket(t, waiting, "served again")
		require.NoError(t, s.Shutdown(t.Context()))
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
}

// At its deadline Shutdown closes what is left.
func TestPacketShutdownForces(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		began := make(chan struct{}, 1)
		result := make(chan error, 1)
		s := &coserver.PacketServer{Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			buffer := make([]byte, 100)
			if _, err := s.Read(buffer); err != nil {
				return err
			}
			began <- struct{}{}
			<-s.Context().Done()
			_, err := s.Write(buffer)
			result <- err
			return err
		}}
		c := dial(t, startPackets(t, s))
		_, err := io.WriteString(c, "begin")
		require.NoError(t, err)
		receive(t, began)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, receive(t, result), net.ErrClosed)
	})
}

// A handler may shut down its own server, and several may at once.
func TestPacketShutdownFromHandlers(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.PacketServer{Carrier: carrier}
		results := make(chan error, 10)
		var both sync.WaitGroup
		both.Add(2)
		s.Handler = func(session *coserver.PacketSession) error {
			buffer := make([]byte, 100)
			for {
				n, err := session.Read(buffer)
				if err != nil {
					return err
				}
				if string(buffer[:n]) == "both" {
					both.Done()
					both.Wait() // what has not been received by the time of the first Shutdown never is
					results <- s.Shutdown(context.Background())
				}
				if _, err := session.Write(buffer[:n]); err != nil {
					return err
				}
			}
		}
		addr := startPackets(t, s)
		first, second, idle := dial(t, addr), dial(t, addr), dial(t, addr)
		for _, c := range []net.Conn{first, second, idle} {
			exchangePacket(t, c, "alive")
		}
		for _, c := range []net.Conn{first, second} {
			_, err := io.WriteString(c, "both")
			require.NoError(t, err)
		}
		require.NoError(t, receive(t, results))
		require.NoError(t, receive(t, results))
		expectPacket(t, first, "both")
		expectPacket(t, second, "both")
	})
}

// Servers come and go on one engine while others serve.
func TestPacketServersShareAnEngine(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 2})
	addr := startPackets(t, &coserver.PacketServer{Engine: engine, Handler: echoPackets})
	stays := dial(t, addr)
	for range 10 {
		s := &coserver.PacketServer{Engine: engine, Handler: echoPackets}
		ln, err := s.Listen("udp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ln) }()
		comes := dial(t, ln.Addr())
		exchangePacket(t, comes, "comes")
		exchangePacket(t, stays, "stays")
		require.NoError(t, s.Shutdown(t.Context()))
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	}
}

// An engine that is closed ends the sessions on it.
func TestEngineCloseEndsPacketSessions(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		engine := newEngine(t, coserver.EngineConfig{Loops: 2})
		result := make(chan error, 1)
		s := &coserver.PacketServer{Engine: engine, Carrier: carrier, Handler: func(s *coserver.PacketSession) error {
			err := echoPackets(s)
			result <- err
			return err
		}}
		ln, err := s.Listen("udp", "127.0.0.1:0")
		require.NoError(t, err)
		go s.Serve(ln)
		exchangePacket(t, dial(t, ln.Addr()), "alive")
		own, err := coserver.NewEngine(coserver.EngineConfig{Loops: 1})
		require.NoError(t, err)
		c, err := own.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		waited := make(chan error, 1)
		go func() {
			_, _, err := c.ReadFrom(make([]byte, 1))
			waited <- err
		}()
		require.NoError(t, own.Close())
		require.ErrorIs(t, receive(t, waited), net.ErrClosed)
		require.NoError(t, s.Close())
		require.ErrorIs(t, receive(t, result), net.ErrClosed)
	})
}
