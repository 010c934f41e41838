//go:build unix

package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reloadable is a strand serve whose place other processes take: it is whoever serves the address.
type reloadable struct {
	addr    string
	pid     int // of the process that serves, or that watches over those that do
	first   *exec.Cmd
	log     string // the file that is the standard error of all of them
	reloads int
	others  []int // those that have served
}

// startReloadable runs a command that is, or ends as, strand serve.
func startReloadable(t *testing.T, cmd *exec.Cmd) *reloadable {
	t.Helper()
	r := &reloadable{first: cmd, log: filepath.Join(t.TempDir(), "stderr")}
	stderr, err := os.Create(r.log) // not a pipe, which the next process would keep open, too
	require.NoError(t, err)
	defer stderr.Close()
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	r.pid = cmd.Process.Pid
	t.Cleanup(func() {
		for _, pid := range append(r.others, r.pid) {
			if pid != cmd.Process.Pid && !gone(pid) {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "%v", r)
	match := listening.FindStringSubmatch(line)
	require.NotNil(t, match, line)
	r.addr = match[1]
	return r
}

func serveReloadable(t *testing.T, args ...string) *reloadable {
	t.Helper()
	return startReloadable(t, exec.Command(strand, serveArgs(args)...))
}

// String is what the processes have said.
func (r *reloadable) String() string {
	text, err := os.ReadFile(r.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

var reloaded = regexp.MustCompile(`(?m)^strand: serve: reloaded: (?:process (\d+) serves|\d+ new processes serve)$`)

var notReloaded = regexp.MustCompile(`(?m)^strand: serve: not reloaded: .*the new process has ended before it was ready: exit status 2$`)

// reload has another process take over.
func (r *reloadable) reload(t *testing.T, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(r.pid, sig))
	r.reloads++
	var all [][]string
	require.Eventually(t, func() bool {
		all = reloaded.FindAllStringSubmatch(r.String(), -1)
		return len(all) == r.reloads
	}, patience, time.Millisecond, "%v", r)
	next, err := strconv.Atoi(all[r.reloads-1][1])
	require.NoError(t, err)
	require.NotEqual(t, r.pid, next)
	r.others = append(r.others, r.pid)
	r.pid = next
}

// apart is what an engine says when handlers that compute (handshakes do), or the machine, are slow.
var apart = regexp.MustCompile(`(?m)^.* WARN handlers keep their loops for long: .*$`)

// end ends the process that serves, and wants all to be gone then, and to have said nothing but what is expected of them.
func (r *reloadable) end(t *testing.T, said ...string) {
	t.Helper()
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGTERM))
	for _, pid := range append(r.others, r.pid) {
		require.Eventually(t, func() bool { return gone(pid) }, patience, time.Millisecond, "process %d ends", pid)
	}
	r.first.Wait()
	require.True(t, r.first.ProcessState.Success(), "%v: %v", r.first.ProcessState, r)
	_, err := net.Dial("tcp", r.addr)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	rest := apart.ReplaceAllString(reloaded.ReplaceAllString(r.String(), ""), "")
	for _, words := range said {
		require.Contains(t, rest, words)
		rest = regexp.MustCompile(`(?m)^.*`+regexp.QuoteMeta(words)+`.*$`).ReplaceAllString(rest, "")
	}
	require.Empty(t, strings.TrimSpace(rest))
}

func (r *reloadable) dial(t *testing.T) net.Conn {
	t.Helper()
	return (&serving{addr: r.addr}).dial(t)
}

func exchange(t *testing.T, conn net.Conn) {
	t.Helper()
	new(serving).exchange(t, conn)
}

// A reload leaves connections alone, and a process that was replaced ends with the last of its own.
func TestReload(t *testing.T) {
	for _, engine := range everyEngine {
		t.Run(engine, func(t *testing.T) {
			r := serveReloadable(t, strings.Fields("--proto line --drain 1h --engine "+engine)...)
			before := r.dial(t)
			r.reload(t, syscall.SIGHUP)
			exchange(t, before)
			between := r.dial(t)
			r.reload(t, syscall.SIGUSR2)
			exchange(t, before)
			exchange(t, between)
			require.NoError(t, before.Close())
			exchange(t, between)
			require.NoError(t, between.Close())
			r.end(t) // those that were replaced are told nothing: they end by themselves
		})
	}
}

func TestReloadForcesAfterTheLimit(t *testing.T) {
	for _, engine := range []string{"net", "coserver"} {
		t.Run(engine, func(t *testing.T) {
			r := serveReloadable(t, "--engine", engine, "--drain", "20ms")
			conn := r.dial(t)
			r.reload(t, syscall.SIGHUP)
			_, err := conn.Read(make([]byte, 1))
			require.Error(t, err)
			r.end(t)
		})
	}
}

// A process that was replaced ends as any other does: in order by a signal, and at once by a second.
func TestSignalsAfterAReload(t *testing.T) {
	r := serveReloadable(t, "--engine", "net", "--drain", "1h")
	conn := r.dial(t)
	old := r.pid
	r.reload(t, syscall.SIGHUP)
	require.NoError(t, syscall.Kill(old, syscall.SIGTERM))
	exchange(t, conn)
	require.NoError(t, syscall.Kill(old, syscall.SIGINT))
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	r.end(t)
}

// A new process that fails leaves the old one serving, as often as that happens, and a later one may succeed.
func TestFailedReload(t *testing.T) {
	program := filepath.Join(t.TempDir(), "strand")
	install := func(data []byte, mode os.FileMode) {
		require.NoError(t, os.WriteFile(program+".new", data, mode))
		require.NoError(t, os.Chmod(program+".new", mode))
		require.NoError(t, os.Rename(program+".new", program))
	}
	good, err := os.ReadFile(strand)
	require.NoError(t, err)
	install(good, 0o755)
	r := startReloadable(t, exec.Command(program, serveArgs([]string{"--proto", "line"})...))
	conn := r.dial(t)
	const failed = "strand: serve: not reloaded: upgrade: "
	for _, failure := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"#!/bin/sh\nexit 3\n", 0o755, failed + "the new process has ended before it was ready: exit status 3"},
		{"#!/bin/sh\nkill -9 $$\n", 0o755, failed + "the new process has ended before it was ready: signal: killed"},
		{"#!/nonexistent\n", 0o755, failed + "cannot start the new process: fork/exec " + program + ": no such file or directory"},
		{"nonsense", 0o755, failed + "cannot start the new process: fork/exec " + program + ": exec format error"},
	} {
		install([]byte(failure.text), failure.mode)
		require.NoError(t, syscall.Kill(r.pid, syscall.SIGHUP))
		require.Eventually(t, func() bool { return strings.Contains(r.String(), failure.want+"\n") }, patience, time.Millisecond, "%v", r)
		exchange(t, conn)
		exchange(t, r.dial(t))
	}
	install(good, 0o755)
	require.NoError(t, conn.Close())
	r.reload(t, syscall.SIGHUP)
	exchange(t, r.dial(t))

	// One that takes long does not keep the old one from ending, and ends with it.
	install([]byte("#!/bin/sh\nexec sleep 1000\n"), 0o755)
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGHUP))
	var child int
	require.Eventually(t, func() bool {
		child = childOf(r.pid)
		return child != 0
	}, patience, time.Millisecond)
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGTERM))
	require.Eventually(t, func() bool { return gone(child) }, patience, time.Millisecond)
}

// A new process accepts nobody before the old one has taken note that it is ready: until then it may be given up, and with it
// whom it has accepted.
func TestNewProcessWaitsForItsTurn(t *testing.T) {
	for _, args := range []string{"--engine net", "--engine loop", "--engine coserver", "--proto http"} {
		t.Run(args, func(t *testing.T) {
			ln := localListener(t)
			cmd, parent := taken(t, ln, strings.Fields(args)...)
			said := bufio.NewReader(parent)
			_, err := fmt.Fprintf(parent, "pid %d\n", cmd.Process.Pid)
			require.NoError(t, err)
			line, err := said.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "ready\n", line)
			const clients = 20
			for range clients {
				conn, err := net.Dial("tcp", ln.Addr().String())
				require.NoError(t, err)
				defer conn.Close()
			}
			require.NoError(t, ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience)))
			for range clients { // all of them are here
				conn, err := ln.Accept()
				require.NoError(t, err)
				require.NoError(t, conn.Close())
			}
			_, err = io.WriteString(parent, "go\n")
			require.NoError(t, err)
			conn := (&serving{addr: ln.Addr().String()}).request(t, "GET / HTTP/1.0\r\n\r\n")
			if strings.Contains(args, "http") {
				require.Equal(t, "hello, world\n", conn.answer(t))
			} else {
				line, err := conn.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, "GET / HTTP/1.0\r\n", line)
			}
			require.NoError(t, conn.conn.Close())
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, cmd.Wait())
		})
	}
}

// taken is strand serve as its predecessor starts it, with ln. It returns the predecessor's end of the socket between them.
func taken(t *testing.T, ln net.Listener, args ...string) (*exec.Cmd, net.Conn) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "parent"), os.NewFile(uintptr(pair[1]), "child")
	defer ours.Close()
	defer theirs.Close()
	syscall.CloseOnExec(pair[0])
	syscall.CloseOnExec(pair[1])
	parent, err := net.FileConn(ours)
	require.NoError(t, err)
	t.Cleanup(func() { parent.Close() })
	require.NoError(t, parent.SetDeadline(time.Now().Add(patience)))
	socket, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer socket.Close()
	cmd := exec.Command(strand, serveArgs(args)...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "STRAND_UPGRADE=upgrade")
	cmd.ExtraFiles = []*os.File{socket, theirs}
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, parent
}

// A hangup that nohup has had ignored is.
func TestIgnoredHangup(t *testing.T) {
	r := startReloadable(t, exec.Command("sh", append([]string{"-c", `trap "" HUP; exec "$0" "$@"`, strand}, serveArgs(nil)...)...))
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGHUP))
	r.reload(t, syscall.SIGUSR2)
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGHUP))
	require.NoError(t, r.dial(t).Close())
	r.end(t)
}

// activated is strand serve as a service manager starts it, with sockets.
func activated(t *testing.T, args []string, listeners ...net.Listener) *exec.Cmd {
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" serve "$@"`, strand}, args...)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("LISTEN_FDS=%d", len(listeners)))
	for _, ln := range listeners {
		file, err := ln.(*net.TCPListener).File()
		require.NoError(t, err)
		t.Cleanup(func() { file.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	return cmd
}

func localListener(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// The socket of a service manager is served instead of the address, from the first client on, and stays the manager's.
func TestServeActivated(t *testing.T) {
	for _, args := range []string{"--engine net", "--engine loop", "--engine coserver", "--proto http --engine net", "--proto http", "--procs 2"} {
		t.Run(args, func(t *testing.T) {
			ln := localListener(t)
			early, err := net.Dial("tcp", ln.Addr().String()) // before there is a server
			require.NoError(t, err)
			defer early.Close()
			s := startServing(t, nil, activated(t, strings.Fields(args), ln))
			require.Equal(t, ln.Addr().String(), s.addr)
			if strings.Contains(args, "http") {
				_, err := io.WriteString(early, "GET / HTTP/1.0\r\n\r\n")
				require.NoError(t, err)
				require.Equal(t, "hello, world\n", requested{bufio.NewReader(early), early}.answer(t))
			} else {
				s.exchange(t, early)
			}
			require.NoError(t, early.Close())
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			s.requireEnd(t)
			late, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			require.NoError(t, late.Close())
		})
	}
}

// Whoever takes over serves the manager's socket, too.
func TestReloadActivated(t *testing.T) {
	ln := localListener(t)
	r := startReloadable(t, activated(t, nil, ln))
	require.Equal(t, ln.Addr().String(), r.addr)
	for range 2 {
		r.reload(t, syscall.SIGHUP)
		require.NoError(t, visit(r.addr, r.reloads, 1, false))
	}
	require.NoError(t, ln.Close()) // so that it is refused in the end
	for _, file := range r.first.ExtraFiles {
		require.NoError(t, file.Close())
	}
	r.end(t)
}

// Of several sockets the address says which.
func TestServeActivatedWithSeveralSockets(t *testing.T) {
	one, two := localListener(t), localListener(t)
	s := startServing(t, nil, activated(t, []string{"--addr", two.Addr().String()}, one, two))
	require.Equal(t, two.Addr().String(), s.addr)
	require.NoError(t, s.dial(t).Close())
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.requireEnd(t)
	requireUsage(t, run(t, activated(t, []string{"--addr", "127.0.0.1:0"}, one, two)), "serve: addr: 127.0.0.1:0 is none of the 2 sockets that were passed")
}
