package coserver_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// An echo allocates nothing, whatever carries the handler, also with timeouts.
func TestEchoDoesNotAllocate(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, handler := range map[string]func(*coserver.Conn) error{"Next": echoNext, "Read": echoRead, "ReadSlice": echoLine} {
			t.Run(name, func(t *testing.T) {
				s := &coserver.Server{Handler: handler, Carrier: carrier, IdleTimeout: time.Hour, ReadTimeout: time.Hour, WriteTimeout: time.Hour}
				c := dial(t, start(t, s, "tcp"))
				message, answer := make([]byte, 64), make([]byte, 64)
				for i := range message {
					message[i] = '\n'
				}
				allocs := testing.AllocsPerRun(2000, func() {
					if _, err := c.Write(message); err != nil {
						t.Error(err)
					}
					if _, err := io.ReadFull(c, answer); err != nil {
						t.Error(err)
					}
				})
				require.Zero(t, allocs)
			})
		}
	})
}

// Nor does a sleep that nobody can cancel, of a handler that its loop carries.
func TestSleepDoesNotAllocate(t *testing.T) {
	c := dial(t, start(t, &coserver.Server{Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		for {
			data, err := c.Next()
			if err != nil {
				return err
			}
			if err := coserver.Sleep(context.Background(), time.Microsecond); err != nil {
				return err
			}
			if _, err := c.Write(data); err != nil {
				return err
			}
		}
	}}, "tcp"))
	message, answer := make([]byte, 64), make([]byte, 64)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := c.Write(message); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Error(err)
		}
	}))
}
