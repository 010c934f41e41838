package loop_test

import (
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/sys/systest"
)

// fake is an engine of one loop on the kernel of package systest, with virtual time.
type fake struct {
	*testing.T
	kernel *fakeKernel
	engine *loop.Engine
	ln     *loop.Listener
}

// fakeKernel counts what shows whether a loop spins.
type fakeKernel struct {
	*systest.Kernel
	waits, sends atomic.Int64
}

func (k *fakeKernel) EpollWait(epfd int, events []unix.EpollEvent) (int, syscall.Errno) {
	k.waits.Add(1)
	return k.Kernel.EpollWait(epfd, events)
}

func (k *fakeKernel) Send(fd int, p []byte) (int, syscall.Errno) {
	k.sends.Add(1)
	return k.Kernel.Send(fd, p)
}

// onFake runs test in a bubble of its own. Afterwards nothing may be left in the kernel, and it must not have been asked
// for anything that is wrong.
func onFake(t *testing.T, options systest.Options, handler loop.Handler, test func(*fake)) {
	synctest.Test(t, func(t *testing.T) {
		kernel := &fakeKernel{Kernel: systest.New(options)}
		engine, err := loop.NewEngine(loop.Config{Loops: 1, Kernel: kernel, Logger: quiet})
		require.NoError(t, err)
		ln, err := engine.Start("tcp", "127.0.0.1:0", loop.Service{Handler: handler, MaxQueued: 4 << 20})
		require.NoError(t, err)
		synctest.Wait()
		test(&fake{t, kernel, engine, ln})
		require.NoError(t, engine.Close())
		require.Empty(t, kernel.Open())
		require.Empty(t, kernel.Violations())
	})
}

func (f *fake) connect() *systest.Peer {
	f.Helper()
	peer, err := f.kernel.Client(f.ln.Addr())
	require.NoError(f, err)
	synctest.Wait()
	return peer
}

// send gives the server time to take all of data.
func (f *fake) send(peer *systest.Peer, data []byte) {
	f.Helper()
	for len(data) > 0 {
		n, err := peer.Write(data)
		if err != nil {
			require.Equal(f, systest.ErrWouldBlock, err)
		}
		synctest.Wait()
		require.True(f, n > 0, "the server does not read")
		data = data[n:]
	}
}

// receive returns what has come until nothing more comes, and how that ended: systest.ErrWouldBlock, io.EOF or a reset.
func (f *fake) receive(peer *systest.Peer) ([]byte, error) {
	var all []byte
	for buffer := make([]byte, 64<<10); ; {
		synctest.Wait()
		n, err := peer.Read(buffer)
		all = append(all, buffer[:n]...)
		if err != nil {
			return all, err
		}
	}
}

func (f *fake) exchange(peer *systest.Peer, message string) {
	f.Helper()
	f.send(peer, []byte(message))
	answer, err := f.receive(peer)
	require.Equal(f, message, string(answer))
	require.Equal(f, systest.ErrWouldBlock, err)
}

// waitsIn is how often the loop asks for events in a time.
func (f *fake) waitsIn(d time.Duration) int64 {
	before := f.kernel.waits.Load()
	time.Sleep(d)
	synctest.Wait()
	return f.kernel.waits.Load() - before
}
