package kerneltest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSubstitute(t *testing.T) {
	replaced := 0
	substitutes["a test's"] = func() { replaced++ }
	defer delete(substitutes, "a test's")

	require.NoError(t, substitute(""))
	require.Zero(t, replaced, "the machine's own")
	require.ErrorContains(t, substitute("epoll"), `STRAND_KERNEL is "epoll"; this machine has: a test's`)
	require.Zero(t, replaced)
	require.NoError(t, substitute("a test's"))
	require.Equal(t, 1, replaced)
}
