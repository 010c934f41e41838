//go:build unix

package pollertest

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
)

var signalTests = []test{
	{"TimeoutIsKept", testSignalsKeepTimeout},
	{"EventsCome", testSignalsLetEventsPass},
}

// storm sends signals to the thread of the calling goroutine, as fast as it can, until the returned function is called.
// The handler of SIGURG is the Go runtime's own, and interrupts system calls: signal(7) lists epoll_wait(2) and
// poll(2) among those that SA_RESTART does not restart.
func (f *fixture) storm() (end func()) {
	f.Helper()
	runtime.LockOSThread()
	interrupt := interrupter()
	require.NoError(f, interrupt())
	var over atomic.Bool
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		close(begun)
		for !over.Load() {
			if err := interrupt(); err != nil {
				ended <- err
				return
			}
			runtime.Gosched()
		}
		ended <- nil
	}()
	<-begun
	return func() {
		over.Store(true)
		require.NoError(f, finish(f, ended, "storm"))
		runtime.UnlockOSThread()
	}
}

func testSignalsKeepTimeout(f *fixture) {
	a, _ := socketPair(f)
	f.add(a, 1, poller.Readable)
	defer f.storm()()
	for _, timeout := range []time.Duration{0, time.Microsecond, time.Millisecond, 50 * time.Millisecond} {
		start := time.Now()
		require.Empty(f, f.wait(timeout))
		require.GreaterOrEqual(f, time.Since(start), timeout)
	}
}

func testSignalsLetEventsPass(f *fixture) {
	a, b := socketPair(f)
	f.add(a, 1, poller.Readable)
	defer f.storm()()
	for range 20 {
		go func() { _, _ = b.send([]byte("x")) }()
		f.await(1, poller.Readable)
		_, _ = a.drain()
	}
}
