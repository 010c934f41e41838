package sys_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/sys"
)

// A thread that computes uses processor time and is runnable; one that waits in the kernel does not and is not.
func TestThreads(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	self := sys.Host.Thread()
	require.Equal(t, unix.Gettid(), self)
	require.True(t, sys.Host.Runnable(self), "the caller runs")
	before, ok := sys.Host.ThreadTime(self)
	require.True(t, ok)
	for spins := uint64(1); ; spins++ {
		if now, _ := sys.Host.ThreadTime(self); now-before > int64(10*time.Millisecond) {
			break
		}
	}

	var pipe [2]int
	require.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	defer unix.Close(pipe[0])
	threads, done := make(chan int), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		threads <- sys.Host.Thread()
		unix.Read(pipe[0], make([]byte, 1))
	}()
	waiting := <-threads
	require.Eventually(t, func() bool { return !sys.Host.Runnable(waiting) }, 10*time.Second, time.Millisecond)
	before, ok = sys.Host.ThreadTime(waiting)
	require.True(t, ok)
	after, ok := sys.Host.ThreadTime(waiting)
	require.True(t, ok)
	require.Equal(t, before, after)
	require.NoError(t, unix.Close(pipe[1])) // the read ends
	<-done
}

// Of a thread that there is not, nothing is known. The kernel gives none above 1 << 22 (pid_max, proc_sys_kernel(5)).
func TestNoSuchThread(t *testing.T) {
	for _, thread := range []int{0, -1, 1 << 23} {
		_, ok := sys.Host.ThreadTime(thread)
		require.False(t, ok, thread)
		require.False(t, sys.Host.Runnable(thread), thread)
	}
}
