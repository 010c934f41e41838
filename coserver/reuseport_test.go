package coserver_test

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// faults.md N4, N5: a server whose loops listen for themselves serves everybody, ends in order, and frees its address at once.
func TestReusePort(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Engine: newEngine(t, coserver.EngineConfig{Loops: 3}), Carrier: carrier, Handler: echoNext, ReusePort: true}
		for range 3 {
			addr, served := startServing(t, s)
			var all sync.WaitGroup
			for range 20 {
				c := dial(t, addr)
				all.Go(func() { exchange(t, c, "served") })
			}
			all.Wait()
			require.NoError(t, s.Shutdown(t.Context()))
			require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
			_, err := net.Dial("tcp", addr.String())
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			alone, err := net.Listen("tcp", addr.String())
			require.NoError(t, err)
			require.NoError(t, alone.Close())
		}
		_, err := s.Listen("unix", address(t, "unix"))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, "Server.ReusePort")
	})
}
