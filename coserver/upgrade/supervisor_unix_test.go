//go:build unix

package upgrade_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver/upgrade"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// supervised is a Supervisor in this process, and the address of its workers.
type supervised struct {
	*upgrade.Supervisor
	addr net.Addr
}

// startSupervisor starts s on a listener of this process, which is not served here, with workers of a mode.
func startSupervisor(t *testing.T, s *upgrade.Supervisor, mode, network, address string) *supervised {
	t.Helper()
	sv := prepare(t, s, mode, network, address)
	require.NoError(t, s.Start(t.Context()))
	require.NoError(t, s.Upgrader.Ready())
	return sv
}

func prepare(t *testing.T, s *upgrade.Supervisor, mode, network, address string) *supervised {
	t.Helper()
	leak.Check(t)
	u, err := upgrade.New(program(mode, network, address))
	require.NoError(t, err)
	t.Cleanup(u.Stop)
	ln, err := u.Listen(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	s.Upgrader = u
	if s.Logger == nil {
		s.Logger = quiet
	}
	t.Cleanup(func() {
		s.Stop(t.Context()) // which is done by now: kills
		requireNoChild(t)
	})
	return &supervised{s, ln.Addr()}
}

// pids asks for workers until it knows so many, all other than those.
func (s *supervised) pids(t *testing.T, count int, but ...int) map[int]bool {
	t.Helper()
	found := make(map[int]bool)
	eventually(t, func() bool {
		id := pid(t, s.addr)
		for _, other := range but {
			if id == other {
				return false
			}
		}
		found[id] = true
		return len(found) == count
	}, "all workers serve")
	return found
}

func (s *supervised) pid(t *testing.T, but ...int) int {
	t.Helper()
	for id := range s.pids(t, 1, but...) {
		return id
	}
	panic("unreachable")
}

func TestSupervisorIsValidated(t *testing.T) {
	leak.Check(t)
	u, err := upgrade.New(program("serves", "tcp", "127.0.0.1:0"))
	require.NoError(t, err)
	defer u.Stop()
	for want, s := range map[string]*upgrade.Supervisor{
		"Supervisor.Upgrader is nil":      {Workers: 1},
		"Supervisor.Workers is 0":         {Upgrader: u},
		"Supervisor.MinPause is -1ns":     {Upgrader: u, Workers: 1, MinPause: -1},
		"Supervisor.MaxPause is -1ns":     {Upgrader: u, Workers: 1, MaxPause: -1},
		"Supervisor.HealthyAfter is -1ns": {Upgrader: u, Workers: 1, HealthyAfter: -1},
		"Supervisor.RetireLimit is -1ns":  {Upgrader: u, Workers: 1, RetireLimit: -1},
	} {
		require.ErrorContains(t, s.Start(t.Context()), want)
		require.ErrorIs(t, s.Reload(t.Context()), upgrade.ErrNotReady)
		require.NoError(t, s.Stop(t.Context()))
	}
}

// All workers serve the same address, each in its own process, and end when they are told to, after what they have begun.
func TestSupervisor(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = unixPath(t)
			}
			s := startSupervisor(t, &upgrade.Supervisor{Workers: 3}, "serves", network, address)
			require.ErrorContains(t, s.Start(t.Context()), "called before")
			workers := s.pids(t, 3)
			require.NotContains(t, workers, os.Getpid())
			c := dial(t, s.addr)
			id := c.ask(t, "pid")
			require.Equal(t, id, c.ask(t, "group"), "a terminal does not reach it")
			require.Equal(t, "found:", c.ask(t, "list"))

			stopped := make(chan error, 2)
			for range cap(stopped) {
				go func() { stopped <- s.Stop(context.Background()) }()
			}
			eventually(t, func() bool { return isRefused(s.addr) }, "new clients are refused")
			require.Equal(t, "begun", c.ask(t, "begun"))
			require.Empty(t, stopped)
			require.NoError(t, c.Close())
			for range cap(stopped) {
				require.NoError(t, receive(t, stopped))
			}
			requireNoChild(t)
			require.ErrorIs(t, s.Reload(t.Context()), upgrade.ErrStopped)
			if network == "unix" {
				_, err := os.Stat(address)
				require.ErrorIs(t, err, os.ErrNotExist)
			}
		})
	}
}

// A unix socket belongs to all workers as an address of TCP does, also after a reload, and its file goes with the last of them.
func TestWorkersShareAUnixSocket(t *testing.T) {
	path := unixPath(t)
	s := startSupervisor(t, &upgrade.Supervisor{Workers: 3}, "serves", "unix", path)
	var before []int
	for id := range s.pids(t, 3) {
		before = append(before, id)
	}
	require.NoError(t, s.Reload(t.Context()))
	s.pids(t, 3, before...)
	require.FileExists(t, path)
}

// A worker that does not end is killed when the time is over.
func TestSupervisorForces(t *testing.T) {
	s := startSupervisor(t, &upgrade.Supervisor{Workers: 2}, "serves", "tcp", "127.0.0.1:0")
	c := dial(t, s.addr)
	c.ask(t, "hello") // and stays
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Stop(ctx), context.DeadlineExceeded)
	requireNoChild(t)
	_, err := c.try("too late")
	require.Error(t, err)
}

// If the workers cannot be started at all, none is left, and the error says why.
func TestSupervisorThatCannotStart(t *testing.T) {
	for mode, want := range map[string]string{
		"exits":    "of 3: upgrade: the new process has ended before it was ready: exit status 3",
		"gives up": "of 3: upgrade: the new process has ended before it was ready: exit status 4",
	} {
		s := prepare(t, &upgrade.Supervisor{Workers: 3}, mode, "tcp", "127.0.0.1:0")
		require.ErrorContains(t, s.Start(t.Context()), want)
		requireNoChild(t)
		require.ErrorIs(t, s.Reload(t.Context()), upgrade.ErrNotReady)
	}
	s := prepare(t, &upgrade.Supervisor{Workers: 3}, "hangs", "tcp", "127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Start(ctx), context.DeadlineExceeded)
	requireNoChild(t)
}

// A worker that falls is replaced, and hurts no other; nobody is refused meanwhile.
func TestWorkerIsRestarted(t *testing.T) {
	var log safeBuffer
	s := startSupervisor(t, &upgrade.Supervisor{Workers: 2, MinPause: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))},
		"serves", "tcp", "127.0.0.1:0")
	before := s.pids(t, 2)
	c := dial(t, s.addr)
	other := dial(t, s.addr)
	victim := c.ask(t, "pid")
	for other.ask(t, "pid") == victim {
		other = dial(t, s.addr)
	}
	_, err := c.try("crash")
	require.Error(t, err)
	var all []int
	for id := range before {
		all = append(all, id)
	}
	s.pids(t, 1, all...)
	require.Equal(t, "unhurt", other.ask(t, "unhurt"))
	require.NoError(t, other.Close())
	require.Contains(t, log.String(), "worker has ended")
	require.Contains(t, log.String(), "pid="+victim)
	require.Contains(t, log.String(), `state="exit status 7"`)
}

// A worker that falls again and again is started less and less often, until it is healthy again.
func TestRestartsBackOff(t *testing.T) {
	const least, most = 100 * time.Millisecond, 400 * time.Millisecond
	s := startSupervisor(t, &upgrade.Supervisor{Workers: 1, MinPause: least, MaxPause: most, HealthyAfter: 300 * time.Millisecond},
		"serves", "tcp", "127.0.0.1:0")
	crash := func() time.Duration {
		c := dial(t, s.addr)
		old, err := strconv.Atoi(c.ask(t, "pid"))
		require.NoError(t, err)
		_, err = c.try("crash")
		require.Error(t, err)
		began := time.Now()
		s.pid(t, old)
		return time.Since(began)
	}
	for _, pause := range []time.Duration{least, 2 * least, most, most} {
		require.GreaterOrEqual(t, crash(), pause)
	}
	healthy := time.Now().Add(300 * time.Millisecond)
	eventually(t, func() bool { return time.Now().After(healthy) }, "it is healthy")
	quick := func() bool { return crash() < most }
	require.True(t, quick() || func() bool { // the machine may be slow for once
		healthy := time.Now().Add(300 * time.Millisecond)
		eventually(t, func() bool { return time.Now().After(healthy) }, "it is healthy")
		return quick()
	}())
}

// Reload replaces every worker, one after the other, and those that were there finish what they have begun.
func TestReload(t *testing.T) {
	s := startSupervisor(t, &upgrade.Supervisor{Workers: 2}, "serves", "tcp", "127.0.0.1:0")
	for range 3 {
		before := s.pids(t, 2)
		c := dial(t, s.addr)
		old := c.ask(t, "pid")
		require.NoError(t, s.Reload(t.Context()))
		var replaced []int
		for id := range before {
			replaced = append(replaced, id)
		}
		s.pids(t, 2, replaced...)
		require.Equal(t, old, c.ask(t, "pid"))
		require.NoError(t, c.Close())
		for _, id := range replaced {
			eventually(t, func() bool { return gone(id) }, "it ends by itself")
		}
	}
}

// A replaced worker that does not end is killed.
func TestRetireLimit(t *testing.T) {
	s := startSupervisor(t, &upgrade.Supervisor{Workers: 1, RetireLimit: 20 * time.Millisecond}, "serves", "tcp", "127.0.0.1:0")
	c := dial(t, s.addr)
	old, err := strconv.Atoi(c.ask(t, "pid"))
	require.NoError(t, err)
	require.NoError(t, s.Reload(t.Context()))
	_, err = c.reader.ReadByte()
	require.Error(t, err)
	eventually(t, func() bool { return gone(old) }, "it is killed")
}

// A reload that fails changes nothing, can be tried again, and is the only one.
func TestFailedReload(t *testing.T) {
	mode := "serves"
	options := program("", "tcp", "127.0.0.1:0")
	dir := t.TempDir()
	options.Path = "/bin/sh" // a program that can be changed
	options.Args = []string{"sh", "-c", `exec env ` + childMode + `="$(cat mode)" "$0"`, program("", "", "").Path}
	options.Env = append(options.Env, "PWD="+dir)
	options.Args[2] = "cd '" + dir + "' && " + options.Args[2]
	set := func(m string) {
		require.NoError(t, os.WriteFile(dir+"/new", []byte(m), 0o600))
		require.NoError(t, os.Rename(dir+"/new", dir+"/mode"))
	}
	set(mode)
	leak.Check(t)
	u, err := upgrade.New(options)
	require.NoError(t, err)
	defer u.Stop()
	ln, err := u.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &supervised{&upgrade.Supervisor{Upgrader: u, Workers: 2, Logger: quiet}, ln.Addr()}
	require.NoError(t, s.Start(t.Context()))
	defer s.Stop(context.Background())
	require.NoError(t, u.Ready())
	before := s.pids(t, 2)

	set("exits")
	require.EqualError(t, s.Reload(t.Context()), "worker 1 of 2: upgrade: the new process has ended before it was ready: exit status 3")
	require.Equal(t, before, s.pids(t, 2))

	set("hangs")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.Reload(ctx) }()
	eventually(t, func() bool { return len(childrenOf(os.Getpid())) == 3 }, "a process is started")
	require.ErrorIs(t, s.Reload(t.Context()), upgrade.ErrInProgress)
	cancel()
	require.ErrorIs(t, receive(t, result), context.Canceled)
	require.Equal(t, before, s.pids(t, 2))

	set("serves")
	require.NoError(t, s.Reload(t.Context()))
	var replaced []int
	for id := range before {
		replaced = append(replaced, id)
	}
	s.pids(t, 2, replaced...)

	set("hangs")
	go func() { result <- s.Reload(context.Background()) }()
	eventually(t, func() bool { return len(childrenOf(os.Getpid())) == 3 }, "a process is started")
	require.NoError(t, s.Stop(context.Background()))
	require.ErrorIs(t, receive(t, result), upgrade.ErrStopped)
	requireNoChild(t)
}

// A worker ends when its supervisor is gone, however that has ended.
func TestOrphans(t *testing.T) {
	leak.Check(t)
	options := program("supervises", "tcp", "127.0.0.1:0")
	cmd := &exec.Cmd{Path: options.Path, Args: options.Args, Env: options.Env, Stderr: os.Stderr}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	addr, err := net.ResolveTCPAddr("tcp", strings.TrimSpace(line))
	require.NoError(t, err)
	workers := childrenOf(cmd.Process.Pid)
	require.Len(t, workers, 2)
	c := dial(t, addr)
	require.Equal(t, "hello", c.ask(t, "hello"))

	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	require.Error(t, cmd.Wait())
	eventually(t, func() bool { return isRefused(addr) }, "nobody listens any more")
	require.Equal(t, "begun", c.ask(t, "begun"))
	require.NoError(t, c.Close())
	for _, id := range workers {
		eventually(t, func() bool { return gone(id) }, "the worker ends")
	}
}

// safeBuffer is a bytes.Buffer for several goroutines.
type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
