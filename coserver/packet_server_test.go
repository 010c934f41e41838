package coserver_test

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// startPackets serves s until the test ends, and fails the test if anything is left then.
func startPackets(t *testing.T, s *coserver.PacketServer) net.Addr {
	t.Helper()
	return startPacketsOn(t, s, "udp", "127.0.0.1:0")
}

func startPacketsOn(t *testing.T, s *coserver.PacketServer, network, address string) net.Addr {
	t.Helper()
	if s.Engine == nil {
		leak.Check(t)
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	ln, err := s.Listen(network, address)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
	return ln.Addr()
}

func echoPackets(s *coserver.PacketSession) error {
	buffer := make([]byte, 1<<16)
	for {
		n, err := s.Read(buffer)
		if err != nil {
			return err
		}
		if _, err := s.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

// exchangePacket sends message and expects the same back, as one datagram.
func exchangePacket(t *testing.T, c net.Conn, message string) {
	t.Helper()
	_, err := io.WriteString(c, message)
	require.NoError(t, err)
	expectPacket(t, c, message)
}

func expectPacket(t *testing.T, c net.Conn, message string) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	answer := make([]byte, 1<<16)
	n, err := c.Read(answer)
	require.NoError(t, err)
	require.Equal(t, message, string(answer[:n]))
}

func TestPacketEcho(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := startPackets(t, &coserver.PacketServer{Carrier: carrier, Handler: echoPackets})
		for range 10 {
			c := dial(t, addr)
			for _, message := range []string{"one", "", "another one"} {
				exchangePacket(t, c, message)
			}
		}
	})
}
