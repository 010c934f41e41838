package coserver_test

import (
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// A server runs over package net where that is asked for, and says what it cannot do. (make portable runs all tests so.)
func TestOverNet(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		engine := newEngine(t, coserver.EngineConfig{OverNet: true})
		reported := make(chan error, 1)
		addr := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			raw, err := c.SyscallConn()
			if err == nil {
				err = raw.Control(func(uintptr) {})
			}
			if err != nil {
				return err
			}
			reported <- errors.Join(raw.Read(func(uintptr) bool { return true }), raw.Write(func(uintptr) bool { return true }))
			return echoNext(c)
		}}, "tcp")
		client := dial(t, addr)
		exchange(t, client, "there and back")
		err := receive(t, reported)
		for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
			require.ErrorIs(t, one, errors.ErrUnsupported)
			require.ErrorAs(t, one, new(*net.OpError))
		}
		dialer := coserver.Dialer{Engine: engine}
		c, err := dialer.Dial("tcp", addr.String())
		require.NoError(t, err)
		require.NoError(t, c.Close())
	})
}
