package coserver_test

import (
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
	"github.com/strand-net/strand/poller/sys"
)

// countingKernel counts the transfers that move something or try to.
type countingKernel struct {
	sys.Kernel
	sends, receives, empty, sendfiles, splices atomic.Int64
}

func (k *countingKernel) Send(fd int, p []byte) (int, syscall.Errno) {
	k.sends.Add(1)
	return k.Kernel.Send(fd, p)
}

func (k *countingKernel) Sendfile(socket, file int, from *int64, n int) (int, syscall.Errno) {
	k.sendfiles.Add(1)
	return k.Kernel.Sendfile(socket, file, from, n)
}

func (k *countingKernel) Splice(from, to, n int) (int, syscall.Errno) {
	k.splices.Add(1)
	return k.Kernel.Splice(from, to, n)
}

func (k *countingKernel) Recv(fd int, p []byte) (int, syscall.Errno) {
	k.receives.Add(1)
	n, errno := k.Kernel.Recv(fd, p)
	if errno == syscall.EAGAIN {
		k.empty.Add(1)
	}
	return n, errno
}

func counted(t *testing.T) (*countingKernel, *coserver.Engine) {
	leak.Check(t)
	kernel := &countingKernel{Kernel: sys.Host}
	engine, err := coserver.NewEngineOn(kernel)
	require.NoError(t, err)
	t.Cleanup(func() { engine.Close() })
	return kernel, engine
}

// An exchange is one receive and one send: nothing is asked for twice.
func TestSystemCallsOfAnEcho(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		kernel, engine := counted(t)
		c := dial(t, start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: echoNext}, "tcp"))
		for range 100 {
			exchange(t, c, "x")
		}
		require.EqualValues(t, 100, kernel.sends.Load())
		require.EqualValues(t, 100, kernel.receives.Load()-kernel.empty.Load())
		require.LessOrEqual(t, kernel.empty.Load(), int64(1))
	})
}

// The small writes of a handler that has unread input go out in one system call, and before it waits.
func TestWritesCoalesce(t *testing.T) {
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		kernel, engine := counted(t)
		c := dial(t, start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: echoLine}, "tcp"))
		const batches = 50
		for range batches {
			exchange(t, c, strings.Repeat("a line\n", 16))
		}
		// All but the last line of a batch are gathered; the last is written with no input at hand.
		require.LessOrEqual(t, kernel.sends.Load(), int64(2*batches))
		exchange(t, c, strings.Repeat(strings.Repeat("l", 99)+"\n", 600)) // more than is gathered at once
	})
}

// What is gathered goes out when the handler returns, when it closes, and before a larger write.
func TestGatheredOutputIsNotLost(t *testing.T) {
	big := strings.Repeat("b", 100_000)
	ends := map[string]func(c *coserver.Conn) error{
		"return": func(*coserver.Conn) error { return nil },
		"close":  func(c *coserver.Conn) error { return c.Close() },
		"large": func(c *coserver.Conn) error {
			_, err := io.WriteString(c, big)
			return err
		},
	}
	onEachCarrier(t, func(t *testing.T, carrier coserver.Carrier) {
		for name, end := range ends {
			t.Run(name, func(t *testing.T) {
				addr := start(t, &coserver.Server{Carrier: carrier, Handler: func(c *coserver.Conn) error {
					for range 3 {
						line, err := c.ReadSlice('\n')
						if err != nil {
							return err
						}
						if _, err := c.Write(line); err != nil {
							return err
						}
					}
					return end(c)
				}}, "tcp")
				c := dial(t, addr)
				_, err := io.WriteString(c, "1\n2\n3\n4")
				require.NoError(t, err)
				got, err := io.ReadAll(c)
				require.NoError(t, err)
				want := "1\n2\n3\n"
				if name == "large" {
					want += big
				}
				require.Equal(t, want, string(got))
			})
		}
	})
}

// io.Copy from a file or from another connection goes past the program's memory.
func TestCopyInTheKernel(t *testing.T) {
	kernel, engine := counted(t)
	file := fileWith(t, []byte("from a file"))
	addr := start(t, &coserver.Server{Engine: engine, Handler: func(c *coserver.Conn) error {
		if _, err := io.Copy(c, file); err != nil {
			return err
		}
		_, err := io.Copy(c, c)
		return err
	}}, "tcp")
	c := dial(t, addr)
	content := make([]byte, len("from a file"))
	_, err := io.ReadFull(c, content)
	require.NoError(t, err)
	require.Equal(t, "from a file", string(content))
	exchange(t, c, "from a connection")
	require.NotZero(t, kernel.sendfiles.Load())
	require.NotZero(t, kernel.splices.Load())
	require.Zero(t, kernel.receives.Load()+kernel.sends.Load())
}
