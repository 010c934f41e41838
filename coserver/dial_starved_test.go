package coserver_test

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
)

// starvedKernel makes no socket while it has no descriptors.
type starvedKernel struct {
	sys.Kernel
	starved atomic.Bool
}

func (k *starvedKernel) Connect(local, remote net.Addr) (int, error) {
	if k.starved.Load() {
		return -1, os.NewSyscallError("socket", syscall.EMFILE)
	}
	return k.Kernel.Connect(local, remote)
}

// swoole_socket_coro/ulimit: without a descriptor a dial fails and says why, and it works again when there is one.
func TestDialWithoutDescriptors(t *testing.T) {
	leak.Check(t)
	kernel := &starvedKernel{Kernel: sys.Host}
	engine, err := coserver.NewEngineOn(kernel)
	require.NoError(t, err)
	defer engine.Close()
	addr := start(t, &coserver.Server{Engine: engine, Handler: echoNext}, "tcp")
	dialer := &coserver.Dialer{Engine: engine}
	kernel.starved.Store(true)
	for range 3 {
		_, err := dialer.Dial("tcp", addr.String())
		require.ErrorIs(t, err, syscall.EMFILE)
		require.ErrorAs(t, err, new(*net.OpError))
	}
	kernel.starved.Store(false)
	c, err := dialer.Dial("tcp", addr.String())
	require.NoError(t, err)
	defer c.Close()
	exchange(t, c, "there is one")
}
