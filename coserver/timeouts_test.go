package coserver_test

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// faults.md X2: what the kernel holds for a peer that does not read is dropped with its connection.
func TestWriteTimeoutResets(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		s := &coserver.Server{Carrier: carrier, WriteTimeout: 50 * time.Millisecond, Handler: func(c *coserver.Conn) error {
			if _, err := c.ReadFull(make([]byte, 1)); err != nil { // or the client might hear of the reset before it knows that it is connected
				return err
			}
			_, err := c.Write(make([]byte, 64<<20))
			return err
		}}
		client := dial(t, start(t, s, "tcp"))
		_, err := io.WriteString(client, "x")
		require.NoError(t, err)
		eventually(t, func() bool { return s.Stats().TimedOut.Write == 1 && s.Stats().Active == 0 }, "it is not cut")
		_, err = io.Copy(io.Discard, client)
		require.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

// A transfer inside the kernel is idle when nothing comes, and not before.
func TestIdleTimeoutOfRelay(t *testing.T) {
	const idle = 150 * time.Millisecond
	backend := start(t, &coserver.Server{Handler: echoNext}, "tcp")
	s := &coserver.Server{IdleTimeout: idle, Handler: func(c *coserver.Conn) error {
		to, err := coserver.Dial("tcp", backend.String())
		if err != nil {
			return err
		}
		defer to.Close()
		return coserver.Relay(c, to.(*coserver.Conn))
	}}
	addr := start(t, s, "tcp")
	// A machine that stands still for longer than idle, between two messages, proves nothing.
	undisturbed := func() bool {
		c := dial(t, addr)
		defer c.Close()
		for begin, last := time.Now(), time.Now(); time.Since(begin) < 2*idle; last = time.Now() {
			_, err := io.WriteString(c, "x")
			if err == nil {
				_, err = io.ReadFull(c, make([]byte, 1))
			}
			if err != nil {
				require.Greater(t, time.Since(last), idle/2, "cut while it was in use")
				return false
			}
			if time.Since(last) > idle/2 {
				return false
			}
		}
		before := s.Stats().TimedOut.Idle
		expectEnd(t, c)
		require.Equal(t, before+1, s.Stats().TimedOut.Idle)
		return true
	}
	eventually(t, undisturbed, "the machine is too slow")
	require.EqualValues(t, 0, s.Stats().HandlerErrors)
}

// Counts that are no limit's.
func TestStatsOfHandlers(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		var c crowd
		s := crowded(carrier, &c)
		addr := start(t, s, "tcp")
		for _, end := range "cregpxe" {
			_, err := visitByte(addr, byte(end))
			require.NoError(t, err)
		}
		eventually(t, func() bool { stats := s.Stats(); return stats.Accepted == 7 && stats.Active == 0 }, "a connection is left")
		require.Equal(t, coserver.ServerStats{Accepted: 7, HandlerErrors: 2, Panics: 2}, s.Stats())
	})
}

func TestStatsOfMaxGoroutines(t *testing.T) {
	engine := newEngine(t, coserver.EngineConfig{MaxGoroutines: 1})
	s := &coserver.Server{Engine: engine, Carrier: coserver.Channel, Handler: echoNext, MaxConns: 2}
	addr := start(t, s, "tcp")
	exchange(t, dial(t, addr), "one")
	for i := range 5 { // more than there are places
		expectEnd(t, dial(t, addr))
		eventually(t, func() bool { return s.Stats().Refused.MaxGoroutines == uint64(i+1) }, "it is not counted")
	}
	require.Equal(t, 1, s.Stats().Active)
}

// An error of a limit is one of package net in every respect.
func TestTimeoutError(t *testing.T) {
	errs := make(chan error, 1)
	s := &coserver.Server{IdleTimeout: time.Millisecond, Handler: func(c *coserver.Conn) error {
		_, err := c.Next()
		errs <- err
		return err
	}}
	addr := start(t, s, "tcp")
	dial(t, addr)
	err := receive(t, errs)
	requireTimeout(t, err)
	var opError *net.OpError
	require.ErrorAs(t, err, &opError)
	require.Equal(t, "read", opError.Op)
	require.Equal(t, addr, opError.Source)
	require.ErrorContains(t, err, "i/o timeout (Server.IdleTimeout)")
	require.NotErrorIs(t, err, coserver.ErrReadTimeout)
}
