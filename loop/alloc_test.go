package loop_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
)

// An echo allocates nothing, also after connections have come and gone.
func TestEchoDoesNotAllocate(t *testing.T) {
	e := newEngine(t, loop.Config{Loops: 1})
	closed := make(chan struct{}, 1)
	ln := startService(t, e, "tcp", loop.Service{Handler: callbacks{
		data:  echo,
		close: func(*loop.Conn, error) { closed <- struct{}{} },
	}})
	gone := dial(t, ln.Addr())
	exchange(t, gone, "and gone")
	gone.Close()
	receive(t, closed)

	c := dial(t, ln.Addr())
	message, answer := make([]byte, 64), make([]byte, 64)
	allocs := testing.AllocsPerRun(2000, func() {
		if _, err := c.Write(message); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Error(err)
		}
	})
	require.Zero(t, allocs)
}
