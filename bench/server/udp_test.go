package server_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/server"
)

// Each datagram comes back, until the server is shut down.
func TestUDPEcho(t *testing.T) {
	onEveryEngine(t, server.ProtoUDPEcho, func(t *testing.T, srv server.Server, served <-chan error) {
		for range 3 {
			conn, err := net.Dial("udp", srv.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			for _, text := range []string{"hello", "again", strings.Repeat("0123456789", 6000)} {
				exchange(t, conn, text)
			}
		}
		require.NoError(t, srv.Shutdown(t.Context()))
		require.NoError(t, <-served)
	})
}
