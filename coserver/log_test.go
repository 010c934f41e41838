package coserver_test

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// What the logger is told of a connection says which it was, so that it can be found by its ID and its addresses.
func TestLogSaysWhichConnection(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var log logged
		w := newWitness()
		addr := start(t, &coserver.Server{Carrier: carrier, Observer: w.observer(), Logger: slog.New(slog.NewJSONHandler(&log, nil)),
			Handler: func(*coserver.Conn) error { panic("fell") }}, "tcp")
		client := dial(t, addr)
		expectEnd(t, client)
		receive(t, w.closed)
		var line struct {
			Level, Msg, Local, Remote, Error, Stack string
			ID                                      uint64
			Age                                     time.Duration
		}
		require.NoError(t, json.Unmarshal([]byte(log.lines()[0]), &line))
		require.Equal(t, "ERROR", line.Level)
		require.Equal(t, "connection ended", line.Msg)
		require.Equal(t, receive(t, w.opened).ID(), line.ID)
		require.Equal(t, client.RemoteAddr().String(), line.Local)
		require.Equal(t, client.LocalAddr().String(), line.Remote)
		require.Equal(t, "coserver: handler panicked: fell", line.Error)
		require.Contains(t, line.Stack, "TestLogSaysWhichConnection")
		require.Positive(t, line.Age)
	})
}
