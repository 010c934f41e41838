package coserver_test

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// The connections of a server can be listed, found by ID, and ended by somebody else than their handlers.
func TestConns(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier, Handler: echoNext}
		require.Empty(t, slices.Collect(s.Conns()))
		require.Nil(t, s.Conn(1))
		addr := start(t, s, "tcp")
		require.Empty(t, slices.Collect(s.Conns()))
		clients := make(map[string]net.Conn)
		for range 10 {
			c := dial(t, addr)
			exchange(t, c, "x")
			clients[c.LocalAddr().String()] = c
		}
		ids := make(map[uint64]bool)
		for c := range s.Conns() {
			require.NotNil(t, clients[c.RemoteAddr().String()])
			require.NotZero(t, c.ID())
			ids[c.ID()] = true
			require.Same(t, c, s.Conn(c.ID()))
		}
		require.Len(t, ids, 10)
		for c := range s.Conns() { // whoever has seen enough may stop
			require.True(t, ids[c.ID()])
			break
		}
		late := dial(t, addr) // also those that come when there is an index
		exchange(t, late, "x")
		for c := range s.Conns() {
			if ids[c.ID()] {
				continue
			}
			require.Equal(t, late.LocalAddr().String(), c.RemoteAddr().String())
			id := c.ID()
			require.NoError(t, s.Conn(id).CloseWithCause(errTest))
			expectEOF(t, late)
			eventually(t, func() bool { return s.Conn(id) == nil }, "it is forgotten")
		}
		for c := range s.Conns() { // nothing is held while the body runs: it may close what it sees, and wait for that
			require.NoError(t, c.Close())
			expectEOF(t, clients[c.RemoteAddr().String()])
		}
		eventually(t, func() bool { return len(slices.Collect(s.Conns())) == 0 }, "all are over")
	})
}

// Whoever sends to all does not serve the same one last each time.
func TestConnsBeginAnywhere(t *testing.T) {
	const count = 5
	s := &coserver.Server{Engine: newEngine(t, coserver.EngineConfig{Loops: 2})}
	conns, _ := audience(t, s, count)
	last := make(map[*coserver.Conn]bool)
	for range 1000 {
		all := slices.Collect(s.Conns())
		require.ElementsMatch(t, conns, all)
		last[all[count-1]] = true
	}
	require.Len(t, last, count)
}

// No ID is given twice, on any loop, to connections that are accepted or dialled.
func TestIDsAreUnique(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{Loops: 3})
	ids := make(map[uint64]bool)
	opened := make(chan uint64, 1000)
	s := &coserver.Server{Engine: engine, Handler: echoNext, Observer: &coserver.Observer{Opened: func(c *coserver.Conn) { opened <- c.ID() }}}
	addr := start(t, s, "tcp")
	for range 100 {
		c, err := (&coserver.Dialer{Engine: engine}).Dial("tcp", addr.String())
		require.NoError(t, err)
		ids[c.(*coserver.Conn).ID()] = true
		ids[receive(t, opened)] = true
		require.NoError(t, c.Close())
	}
	require.Len(t, ids, 200)
}

// What a connection does and has done can be seen from outside.
func TestConnStats(t *testing.T) {
	for _, carrier := range []coserver.Carrier{coserver.Inline, coserver.Channel} {
		t.Run(carrier.String(), func(t *testing.T) {
			sleeping, until := make(chan struct{}), make(chan struct{})
			// Nothing is taken over: on a machine that is held up a handler would be on a goroutine by the time of the look.
			engine := newEngine(t, coserver.EngineConfig{Loops: 1, TakeOverAfter: -1})
			s := &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
				var message [4]byte
				for {
					if _, err := c.ReadFull(message[:]); err != nil {
						return err
					}
					switch string(message[:]) {
					case "wait":
						close(sleeping)
						if err := coserver.Offload(func() { <-until }); err != nil {
							return err
						}
					case "much":
						for {
							if _, err := c.Write(make([]byte, 1<<20)); err != nil {
								return err
							}
						}
					}
					if _, err := c.Write(message[:]); err != nil {
						return err
					}
				}
			}}
			client := dial(t, start(t, s, "tcp"))
			exchange(t, client, "ping")
			conn := slices.Collect(s.Conns())[0]
			carried := coserver.Loop
			if carrier == coserver.Channel {
				carried = coserver.Goroutine
			}
			eventually(t, func() bool { return conn.Stats().Reads }, "it waits for the next message")
			stats := conn.Stats()
			require.Equal(t, conn.ID(), stats.ID)
			require.Equal(t, carried, stats.CarriedBy)
			require.False(t, stats.Writes)
			require.EqualValues(t, 4, stats.Received)
			require.EqualValues(t, 4, stats.Sent)
			require.Positive(t, stats.RTT)
			require.Zero(t, stats.Retransmitted)
			require.Greater(t, conn.Stats().Age, time.Duration(0))
			require.GreaterOrEqual(t, conn.Age(), stats.Age)

			_, err := io.WriteString(client, "wait")
			require.NoError(t, err)
			receive(t, sleeping)
			stats = conn.Stats()
			require.False(t, stats.Reads || stats.Writes)
			require.Equal(t, carried, stats.CarriedBy)
			require.EqualValues(t, 8, stats.Received)
			close(until)
			_, err = io.ReadFull(client, make([]byte, 4))
			require.NoError(t, err)

			_, err = io.WriteString(client, "much")
			require.NoError(t, err)
			// The kernels' buffers grow for a while, so that a wait for room may be over by the next look.
			eventually(t, func() bool {
				stats := conn.Stats()
				return stats.Writes && stats.Unacked > 0 && stats.Sent > stats.Unacked
			}, "it waits for room")
			require.False(t, conn.Stats().Reads)

			client.Close()
			eventually(t, func() bool { return conn.Stats().CarriedBy == coserver.Nobody }, "the handler has returned")
			stats = conn.Stats()
			require.Zero(t, stats.Received)
			require.Equal(t, conn.ID(), stats.ID)
		})
	}
	t.Run("unix", func(t *testing.T) {
		s := &coserver.Server{Handler: echoNext}
		exchange(t, dial(t, start(t, s, "unix")), "x")
		stats := slices.Collect(s.Conns())[0].Stats()
		require.NotZero(t, stats.ID)
		require.Zero(t, stats.Received)
	})
	t.Run("no handler", func(t *testing.T) {
		addr := start(t, &coserver.Server{Handler: echoNext}, "tcp")
		c, err := coserver.Dial("tcp", addr.String())
		require.NoError(t, err)
		defer c.Close()
		exchange(t, c, "x")
		stats := c.(*coserver.Conn).Stats()
		require.Equal(t, coserver.Nobody, stats.CarriedBy)
		require.NotZero(t, stats.ID)
		require.EqualValues(t, 1, stats.Received)
	})
	require.Equal(t, "loop", coserver.Loop.String())
	require.Equal(t, "CarriedBy(9)", coserver.CarriedBy(9).String())
}
