package watch_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/control"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// childMode, in the environment, makes this test binary a child that does something to be watched.
const childMode = "WATCH_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		leak.Main(m)
	case "tells": // at a control socket, and computes
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			os.Exit(4)
		}
		go http.Serve(listener, control.Handler())
		go compute()
		fmt.Println(listener.Addr())
	case "counts": // its processors
		fmt.Println(runtime.NumCPU())
	}
	io.Copy(io.Discard, os.Stdin)
}

// compute takes longer than any test. The race detector must not have a part in it: its time is not in the profile as Go's.
//
//go:noinline
func compute() (n uint64) {
	for range uint64(1 << 50) {
		n = n*3 + 1
	}
	return n
}

// child is a process of this program.
type child struct {
	*exec.Cmd
	line string // that it has printed
}

// startChild starts one, and waits for its line. It ends with the test, or with its standard input.
func startChild(t *testing.T, mode string, start func(*exec.Cmd) error) child {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childMode+"="+mode)
	_, err = cmd.StdinPipe() // it ends with this process, too
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, start(cmd))
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line := make([]byte, 100)
	n, err := stdout.Read(line)
	require.NoError(t, err)
	return child{cmd, strings.TrimSpace(string(line[:n]))}
}
