package coserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// What happens before a message is sent happens before it is read: the race detector knows that of package net's connections,
// and must of these, in either direction.
func TestMessagesOrderMemory(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			leak.Check(t)
			ln, err := coserver.Listen(network, address(t, network))
			require.NoError(t, err)
			defer ln.Close()
			client := dial(t, ln.Addr())
			c, err := ln.Accept()
			require.NoError(t, err)
			defer c.Close()
			counter := 0 // each side has it in turn
			const rounds = 100
			served := make(chan error, 1)
			go func() {
				p := make([]byte, 1)
				for range rounds {
					if _, err := c.Read(p); err != nil {
						served <- err
						return
					}
					counter++
					if _, err := c.Write(p); err != nil {
						served <- err
						return
					}
				}
				served <- nil
			}()
			p := make([]byte, 1)
			for range rounds {
				counter++
				_, err := client.Write(p)
				require.NoError(t, err)
				_, err = client.Read(p)
				require.NoError(t, err)
			}
			require.Equal(t, 2*rounds, counter)
			require.NoError(t, receive(t, served))
		})
	}
}
