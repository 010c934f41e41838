//go:build unix

package upgrade_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver/upgrade"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// activated starts this binary in a mode as systemd does: with sockets from descriptor 3 on, and its own id in LISTEN_PID.
// Variables of the protocol are as assignments of the shell have them.
func activated(t *testing.T, options upgrade.Options, assignments string, sockets ...net.Listener) (cmd *exec.Cmd, stderr func() string) {
	t.Helper()
	complaints, err := os.Create(t.TempDir() + "/stderr") // not a pipe, which the next process would keep open, too
	require.NoError(t, err)
	defer complaints.Close()
	cmd = exec.Command("/bin/sh", "-c", assignments+` exec "$0"`, options.Path)
	cmd.Env, cmd.Stderr = options.Env, complaints
	for _, socket := range sockets {
		file, err := socket.(interface{ File() (*os.File, error) }).File()
		require.NoError(t, err)
		defer file.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, func() string {
		text, err := os.ReadFile(complaints.Name())
		require.NoError(t, err)
		return string(text)
	}
}

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// Sockets of a service manager are found by their address, also by the process after the next, and belong to the manager.
func TestActivation(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			leak.Check(t)
			address := "127.0.0.1:0"
			if network == "unix" {
				address = unixPath(t)
			}
			other, ln := listen(t, "tcp", "127.0.0.1:0"), listen(t, network, address)
			cmd, stderr := activated(t, program("serves", network, ln.Addr().String()), "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=other:web LISTEN_PIDFDID=1", other, ln)
			c := dial(t, ln.Addr())
			require.Equal(t, fmt.Sprint(cmd.Process.Pid), c.ask(t, "pid"))
			require.Equal(t, "found:", c.ask(t, "list"))
			require.NoError(t, other.Close())
			require.True(t, isRefused(other.Addr()), "nobody has claimed it")

			require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
			eventually(t, func() bool { return pid(t, ln.Addr()) != cmd.Process.Pid }, "it is upgraded")
			require.NoError(t, c.Close())
			require.NoError(t, cmd.Wait())
			require.Empty(t, stderr())
			next := pid(t, ln.Addr())
			c = dial(t, ln.Addr())
			require.Equal(t, "end", c.ask(t, "end"))
			require.NoError(t, c.Close())
			eventually(t, func() bool { return gone(next) }, "it ends")
			again, err := net.Dial(network, ln.Addr().String()) // the manager has the socket still, with its path
			require.NoError(t, err)
			require.NoError(t, again.Close())
		})
	}
}

// Sockets of a service manager are found by their names, also by the next process.
func TestActivationByName(t *testing.T) {
	leak.Check(t)
	other, ln := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
	cmd, _ := activated(t, program("serves", "named", "web"), "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=other:web", other, ln)
	require.Equal(t, cmd.Process.Pid, pid(t, ln.Addr()))
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	require.NoError(t, cmd.Wait())
	next := pid(t, ln.Addr())
	c := dial(t, ln.Addr())
	c.ask(t, "end")
	require.NoError(t, c.Close())
	eventually(t, func() bool { return gone(next) }, "it ends")
}

// Variables that are for another process, or wrong.
func TestActivationOfAnother(t *testing.T) {
	for assignments, want := range map[string]string{
		"LISTEN_PID=1 LISTEN_FDS=1":                       "address already in use", // it binds for itself
		"LISTEN_FDS=1":                                    "address already in use",
		"LISTEN_FDS=1 STRAND_UPGRADE=upgrade":             "address already in use", // nobody confirms it
		"LISTEN_FDS=0 STRAND_UPGRADE=worker":              "address already in use", // descriptor 3 leads to no parent
		"LISTEN_PID=$$ LISTEN_FDS=1000":                   "upgrade: LISTEN_FDS is 1000, but descriptor",
		"LISTEN_PID=$$ LISTEN_FDS=1073741824":             "is not open",
		"LISTEN_PID=$$ LISTEN_FDS=many":                   `upgrade: LISTEN_FDS: "many" is no number`,
		"LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=a:b":   "upgrade: LISTEN_FDNAMES: 2 names for 1 descriptors",
		"LISTEN_PID=me LISTEN_FDS=1":                      "upgrade: LISTEN_PID",
		"LISTEN_PID=$$ LISTEN_FDS=1 STRAND_UPGRADE=uncle": "upgrade: STRAND_UPGRADE: unknown role",
	} {
		t.Run(assignments, func(t *testing.T) {
			leak.Check(t)
			ln := listen(t, "tcp", "127.0.0.1:0")
			cmd, stderr := activated(t, program("serves", "tcp", ln.Addr().String()), assignments, ln)
			require.Error(t, cmd.Wait())
			require.Equal(t, 1, cmd.ProcessState.ExitCode())
			require.Contains(t, stderr(), want)
			require.Equal(t, 1, strings.Count(stderr(), "\n"))
		})
	}
}

// Both are confirmed: the launcher's LISTEN_PID does no harm to what a process of this package has passed, and that no
// harm to what the launcher has.
func TestActivationBeatsAStaleRole(t *testing.T) {
	leak.Check(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	cmd, _ := activated(t, program("serves", "tcp", ln.Addr().String()), "LISTEN_PID=$$ LISTEN_FDS=1 STRAND_UPGRADE=worker", ln)
	require.Equal(t, cmd.Process.Pid, pid(t, ln.Addr()))
	end := dial(t, ln.Addr())
	end.ask(t, "end")
	require.NoError(t, end.Close())
	require.NoError(t, cmd.Wait())
}

// Descriptors that are no sockets to listen on are left alone.
func TestActivationWithOtherFiles(t *testing.T) {
	leak.Check(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	conn := dial(t, ln.Addr())
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	options := program("serves", "tcp", ln.Addr().String())
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=3 exec "$0"`, options.Path)
	cmd.Env = options.Env
	connected, err := conn.Conn.(*net.TCPConn).File()
	require.NoError(t, err)
	listening, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	cmd.ExtraFiles = []*os.File{w, connected, listening}
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for _, file := range cmd.ExtraFiles {
		require.NoError(t, file.Close())
	}
	require.Equal(t, cmd.Process.Pid, pid(t, ln.Addr()))
	closed := make(chan struct{})
	go func() {
		io.Copy(io.Discard, r)
		close(closed)
	}()
	select {
	case <-closed:
		require.Fail(t, "the pipe has been closed")
	default:
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, conn.Conn.(*net.TCPConn).CloseWrite()) // it has this end, too, and waits for the other's
	receive(t, closed)
}
