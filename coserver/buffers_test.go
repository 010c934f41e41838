package coserver_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// faults.md F5: what a Write was given is the caller's again when it returns, also if it was gathered; and a slice that a
// call has filled keeps what it was given.
func TestBuffersAreTheCallers(t *testing.T) {
	const lines = 2000
	line := func(i int) string { return fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%100)) }
	var all strings.Builder
	for i := range lines {
		all.WriteString(line(i))
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
			answer := make([]byte, 0, 200)
			head, kept := make([]byte, 5), make([]byte, 5)
			for {
				if _, err := c.ReadFull(head); err != nil {
					return err
				}
				copy(kept, head)
				rest, err := c.ReadSlice('\n')
				if err != nil {
					return err
				}
				answer = append(append(answer[:0], head...), rest...)
				if _, err := c.Write(answer); err != nil {
					return err
				}
				clear(answer)
				clear(rest) // of the engine's own buffer, whose part it was until the next read
				if string(head) != string(kept) {
					t.Errorf("%q became %q", kept, head)
				}
				clear(head)
			}
		}}, "tcp")
		c := dial(t, addr)
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c, all.String())
			c.(*net.TCPConn).CloseWrite()
			sent <- err
		}()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.NoError(t, receive(t, sent))
		require.Equal(t, all.String(), string(got))
	})
}
