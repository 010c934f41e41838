package watch_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/bench/watch"
)

// Marks must cost the generator nothing, even while the server is stopped and tells nothing.
func TestWatcherOfStoppedServer(t *testing.T) {
	c := startChild(t, "tells", (*exec.Cmd).Start)
	w, err := watch.Start(t.Context(), watch.Options{Name: "child", PID: c.Process.Pid, Control: c.line, Interval: 10 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, c.Process.Signal(syscall.SIGSTOP))
	defer c.Process.Signal(syscall.SIGCONT) // to see the end of its input
	w.Mark(watch.Begin)
	require.Eventually(t, func() bool { return w.Latest() != nil && w.Latest().At > 0.2 }, patience, time.Millisecond)
	require.NoError(t, w.Look(t.Context(), watch.End), "the process can be seen from outside all the same")
	outcome, err := w.Stop()
	require.NoError(t, err)
	require.Equal(t, "child", outcome.Server.Name)
	require.Greater(t, len(outcome.Samples), 5)
	require.Positive(t, outcome.Server.End.RSS)
	require.Nil(t, outcome.Server.End.Runtime)
}

func TestFindListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	for _, at := range []struct{ network, listen, host string }{
		{"tcp", "127.0.0.1:0", "127.0.0.1"},
		{"tcp", "127.0.0.1:0", "localhost"},
		{"tcp", "127.0.0.1:0", ""},
		{"tcp4", "0.0.0.0:0", "127.0.0.9"},
		{"tcp", "[::1]:0", "::1"},
		{"tcp", ":0", "127.0.0.1"},
		{"unix", path, ""},
	} {
		t.Run(at.network+" "+at.listen+" as "+at.host, func(t *testing.T) {
			listener, err := net.Listen(at.network, at.listen)
			require.NoError(t, err)
			defer listener.Close()
			network, address := at.network, path
			if tcp, ok := listener.Addr().(*net.TCPAddr); ok {
				network, address = "tcp", net.JoinHostPort(at.host, strconv.Itoa(tcp.Port))
			}
			pid, err := watch.FindListener(network, address)
			require.NoError(t, err)
			require.Equal(t, os.Getpid(), pid)
			require.NoError(t, listener.Close())
			_, err = watch.FindListener(network, address)
			require.EqualError(t, err, "watch: listener on "+network+" "+address+": nobody listens there on this machine")
		})
	}
	listener, err := net.Listen("tcp4", ":0")
	require.NoError(t, err)
	defer listener.Close()
	_, err = watch.FindListener("tcp", net.JoinHostPort("192.0.2.1", strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)))
	require.ErrorIs(t, err, watch.ErrNoListener, "it is another machine's port")
	_, err = watch.FindListener("tcp", "nonsense")
	require.ErrorContains(t, err, "missing port")
}

func TestFindUDPListener(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer conn.Close()
	pid, err := watch.FindListener("udp", conn.LocalAddr().String())
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), pid)
}

func TestFindListenerThatSeveralHave(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	require.NoError(t, err)
	defer file.Close()
	c := startChild(t, "counts", func(cmd *exec.Cmd) error {
		cmd.ExtraFiles = []*os.File{file}
		return cmd.Start()
	})
	_, err = watch.FindListener("tcp", listener.Addr().String())
	require.ErrorContains(t, err, "name one of them by its id")
	require.ErrorContains(t, err, strconv.Itoa(c.Process.Pid))
	require.ErrorContains(t, err, strconv.Itoa(os.Getpid()))
}

// ownCPUs are those that this thread may use.
func ownCPUs(t *testing.T) watch.CPUs {
	var set unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &set))
	var all watch.CPUs
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			all = append(all, cpu)
		}
	}
	return all
}

func TestChildOnCertainProcessors(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := ownCPUs(t)
	c := startChild(t, "counts", before[:1].Start)
	require.Equal(t, "1", c.line, "it must see one processor")
	require.Equal(t, before, ownCPUs(t), "this one has them all again")
	err := watch.CPUs{before[0], 1000}.Start(exec.Command("/nonexistent"))
	require.EqualError(t, err, "processors: this process may not use all of "+watch.CPUs{before[0], 1000}.String())
	err = watch.CPUs{1000}.Start(exec.Command("/nonexistent"))
	require.EqualError(t, err, "processors: this process may use none of 1000")
	require.Equal(t, before, ownCPUs(t))
}

func TestThisProcessOnCertainProcessors(t *testing.T) {
	all := ownCPUs(t)
	require.NoError(t, all[:1].Use())
	defer func() { require.NoError(t, all.Use()) }()
	for range 3 {
		got := make(chan watch.CPUs)
		go func() {
			runtime.LockOSThread() // not unlocked: the thread ends, and others are made
			got <- ownCPUs(t)
		}()
		select {
		case cpus := <-got:
			require.Equal(t, all[:1], cpus)
		case <-time.After(patience):
			require.Fail(t, "no thread runs")
		}
	}
}

// A thread that ends takes its counters with it: they must not be missed in what comes after.
func TestSwitchesOfThreadsThatHaveEnded(t *testing.T) {
	self, err := watch.Find(os.Getpid())
	require.NoError(t, err)
	thread, end := make(chan int), make(chan struct{})
	busy := func() {
		runtime.LockOSThread() // not unlocked: the thread ends with this function
		for range 200 {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 1000}, nil) // a signal may cut it short
		}
		thread <- unix.Gettid()
		<-end
		if unix.Gettid() == os.Getpid() {
			runtime.UnlockOSThread()
		}
	}
	go busy()
	id := <-thread
	if id == os.Getpid() { // the first thread of a process never ends; while it is held here, the next is another
		go busy()
		id = <-thread
	}
	before, err := self.Sample(false)
	require.NoError(t, err)
	close(end)
	require.Eventually(t, func() bool {
		_, err := os.Stat("/proc/self/task/" + strconv.Itoa(id))
		return os.IsNotExist(err)
	}, patience, time.Millisecond)
	for range 2 { // what has ended is counted once, and stays
		after, err := self.Sample(false)
		require.NoError(t, err)
		require.GreaterOrEqual(t, after.VoluntarySwitches, before.VoluntarySwitches)
		require.Less(t, after.VoluntarySwitches, before.VoluntarySwitches+150)
	}
}
