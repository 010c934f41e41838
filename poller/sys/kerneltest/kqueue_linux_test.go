package kerneltest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// before is a kernel that stands before another, as those of tests do.
type before struct{ sys.Kernel }

// A kernel with kqueue(2) gets its poller, also through one that stands before it; the machine's own keeps its own.
func TestKqueueSubstitutes(t *testing.T) {
	host, backend := sys.Host, poller.Backend
	defer func() { sys.Host, poller.Backend = host, backend }()
	callOf := func(kernel sys.Kernel) string {
		p, err := poller.New(kernel)
		require.NoError(t, err)
		defer p.Close()
		var failed *os.SyscallError
		require.ErrorAs(t, p.Add(-1, 1, poller.Readable), &failed)
		return failed.Syscall
	}
	require.Equal(t, "epoll_ctl", callOf(sys.Host))
	for _, name := range []string{"kqueue", "kqueue-pipe"} {
		sys.Host, poller.Backend = host, backend
		require.NoError(t, substitute(name))
		require.Equal(t, "kevent", callOf(sys.Host))
		require.Equal(t, "kevent", callOf(before{before{sys.Host}}))
		require.Equal(t, "epoll_ctl", callOf(before{host}))
	}
}
