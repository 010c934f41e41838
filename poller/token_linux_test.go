package poller_test

import (
	"testing"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
	"github.com/stretchr/testify/require"
)

// FuzzToken: whatever bits a token has, an event brings them back.
func FuzzToken(f *testing.F) {
	for _, token := range []uint64{0, 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 63, uint64(poller.Reserved) - 1} {
		f.Add(token)
	}
	p, err := poller.New(sys.Host)
	require.NoError(f, err)
	defer p.Close()
	socket := newSocket(f)
	require.NoError(f, p.Add(socket, 0, 0))
	events := make([]poller.Event, 2)
	f.Fuzz(func(t *testing.T, bits uint64) {
		token := poller.Token(bits)
		if token == poller.Reserved {
			return
		}
		require.NoError(t, p.Modify(socket, token, poller.Writable))
		n, err := p.Wait(events, -1)
		require.NoError(t, err)
		require.Equal(t, []poller.Event{{Token: token, Readiness: poller.Writable}}, events[:n])
	})
}
