package coserver_test

import (
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
)

// starving is a kernel that gives no processor to the threads of its loops, or so it says.
type starving struct {
	sys.Kernel
	ends  atomic.Bool
	asked atomic.Int64
}

func (k *starving) Thread() int                  { return 1 }
func (k *starving) ThreadTime(int) (int64, bool) { return 0, true }

func (k *starving) Runnable(int) bool {
	k.asked.Add(1)
	return !k.ends.Load()
}

// blockedOn starts a server on kernel, with a handler that blocks until the test ends.
func blockedOn(t *testing.T, kernel sys.Kernel, period time.Duration) *coserver.Engine {
	leak.Check(t)
	engine, err := coserver.NewEngineWith(coserver.EngineConfig{TakeOverAfter: period}, loop.Config{Loops: 1, Kernel: kernel})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close()) })
	until, begun := make(chan struct{}), make(chan struct{})
	addr := start(t, &coserver.Server{Engine: engine, Carrier: coserver.Inline, Handler: func(c *coserver.Conn) error {
		if _, err := c.Next(); err != nil {
			return err
		}
		close(begun)
		<-until
		return nil
	}}, "tcp")
	t.Cleanup(func() { close(until) })
	_, err = io.WriteString(dial(t, addr), "block")
	require.NoError(t, err)
	receive(t, begun)
	return engine
}

// A loop whose thread gets no processor is left to its handler: another goroutine would not get one sooner. When it has
// had one, and the handler still does not come back, it is taken over.
func TestStarvedLoopIsNotTakenOver(t *testing.T) {
	kernel := &starving{Kernel: sys.Host}
	engine := blockedOn(t, kernel, 10*time.Millisecond)
	eventually(t, func() bool { return kernel.asked.Load() >= 10 }, "the monitor asks about the thread")
	require.Zero(t, engine.Stats().TakeOvers)
	kernel.ends.Store(true)
	eventually(t, func() bool { return engine.Stats().TakeOvers == 1 }, "the loop is taken over")
}

// A kernel that says so for ever is not believed.
func TestStarvedLoopIsTakenOverInTheEnd(t *testing.T) {
	kernel := &starving{Kernel: sys.Host}
	engine := blockedOn(t, kernel, time.Millisecond)
	eventually(t, func() bool { return engine.Stats().TakeOvers == 1 }, "the loop is taken over")
	require.GreaterOrEqual(t, kernel.asked.Load(), int64(10))
}
