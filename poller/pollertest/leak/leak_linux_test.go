package leak_test

import (
	"os"
	"testing"

	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestSinceNamesWhatIsOpen(t *testing.T) {
	before := leak.Descriptors()
	require.NotEmpty(t, before)

	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.Len(t, leak.Since(before), 2)
	require.NoError(t, r.Close())
	left := leak.Since(before)
	require.Len(t, left, 1)
	require.Contains(t, left[0], "pipe:")

	require.NoError(t, w.Close())
	require.Empty(t, leak.Since(before))
}

func TestCheckPassesWhenAllIsClosed(t *testing.T) {
	leak.Check(t)
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
}
