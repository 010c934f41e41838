//go:build unix

package pollertest

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var signalTests = []test{
	{"TimeoutIsKept", testSignalsKeepTimeout},
	{"EventsCome", testSignalsLetEventsPass},
}

// storm sends signals to the thread of the calling goroutine, as fast as it can, until the returned function is called.
// The handler of SIGURG is the Go runtime's own, and interrupts system calls: signal(7) lists epoll_wait(2) and
// poll(2) among those that SA_RESTART does not restart.
func (f *fixture) storm() (end func()) {
	runtime.LockOSThread()
	interrupt := interrupter()
	var over atomic.Bool
	sent := make(chan int, 1)
	go func() {
		for n := 0; ; n++ {
			if over.Load() {
				sent <- n
				return
			}
			if interrupt() != nil {
				sent <- 0
				return
			}
			runtime.Gosched()
		}
	}()
	return func() {
		over.Store(true)
		runtime.UnlockOSThread()
		require.NotZero(f, finish(f, sent, "storm"), "no signal was sent")
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
		go func() { _, _ = unix.Write(b.fd, []byte("x")) }()
		f.await(1, poller.Readable)
		_, _ = a.drain()
	}
}
