package coserver_test

import (
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
)

// shortcutKernel is the machine's kernel, but for what makes no pipe, or moves nothing into one after a few times.
type shortcutKernel struct {
	sys.Kernel
	noPipe syscall.Errno
	fills  int64 // how often a pipe may be filled

	asked, filled, into atomic.Int64
}

func (k *shortcutKernel) Pipe() (r, w int, errno syscall.Errno) {
	k.asked.Add(1)
	if k.noPipe != 0 {
		return -1, -1, k.noPipe
	}
	r, w, errno = k.Kernel.Pipe()
	k.into.Store(int64(w))
	return r, w, errno
}

func (k *shortcutKernel) Splice(from, to, n int) (int, syscall.Errno) {
	if int64(to) == k.into.Load() && k.filled.Add(1) > k.fills {
		return 0, syscall.EINVAL
	}
	return k.Kernel.Splice(from, to, n)
}

// Where the kernel moves nothing by itself, or not any more, the bytes come through memory: also those that were read before, each once.
func TestNoShortcut(t *testing.T) {
	for name, kernel := range map[string]func() *shortcutKernel{
		"no pipe":       func() *shortcutKernel { return &shortcutKernel{noPipe: syscall.ENOSYS} },
		"no splice":     func() *shortcutKernel { return &shortcutKernel{} },
		"a few splices": func() *shortcutKernel { return &shortcutKernel{fills: 3} },
	} {
		t.Run(name, func(t *testing.T) {
			for way, relay := range relays {
				t.Run(way, func(t *testing.T) {
					leak.Check(t)
					k := kernel()
					k.Kernel = sys.Host
					engine, err := coserver.NewEngineWith(coserver.EngineConfig{}, loop.Config{Kernel: k})
					require.NoError(t, err)
					t.Cleanup(func() { require.NoError(t, engine.Close()) })
					expectMoved(t, engine, "tcp", relay)
					require.Positive(t, k.asked.Load())
					require.True(t, k.noPipe != 0 || k.filled.Load() > k.fills)
				})
			}
		})
	}
}
