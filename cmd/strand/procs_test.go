//go:build unix

package main_test

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// workers lists the processes that r watches over, and waits until there are so many.
func (r *reloadable) workers(t *testing.T, count int) []int {
	t.Helper()
	var living []int
	require.Eventually(t, func() bool {
		living = slices.DeleteFunc(childrenOf(r.pid), gone)
		return len(living) == count
	}, patience, time.Millisecond, "%v", r)
	return living
}

// reloadWorkers has all workers replaced, and waits until as many others serve.
func (r *reloadable) reloadWorkers(t *testing.T, count int) {
	t.Helper()
	before := slices.DeleteFunc(childrenOf(r.pid), gone)
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGHUP))
	r.others = append(r.others, before...)
	r.reloads++
	require.Eventually(t, func() bool {
		return len(reloaded.FindAllString(r.String(), -1)) == r.reloads || t.Failed()
	}, patience, time.Millisecond, "%v", r)
	others := slices.DeleteFunc(childrenOf(r.pid), func(pid int) bool { return slices.Contains(before, pid) || gone(pid) })
	require.Len(t, others, count)
}

// Several processes serve one address, and end as one.
func TestProcs(t *testing.T) {
	for _, args := range []string{"--engine net", "--engine loop", "--engine coserver", "--proto http"} {
		t.Run(args, func(t *testing.T) {
			r := serveReloadable(t, append(strings.Fields(args), "--procs", "3")...)
			r.others = r.workers(t, 3)
			if strings.Contains(args, "http") {
				conn := (&serving{addr: r.addr}).request(t, "GET / HTTP/1.0\r\n\r\n")
				require.Equal(t, "hello, world\n", conn.answer(t))
			} else {
				require.NoError(t, visit(r.addr, 1, 3, false))
			}
			r.end(t)
		})
	}
}

// Several reloads are asked for in quick succession: however many of them come to something, all workers are there afterwards, and serve.
func TestProcsReloadsInQuickSuccession(t *testing.T) {
	r := serveReloadable(t, "--procs", "2")
	before := r.workers(t, 2)
	for range 5 {
		require.NoError(t, syscall.Kill(r.pid, syscall.SIGHUP))
	}
	require.Eventually(t, func() bool {
		living := slices.DeleteFunc(childrenOf(r.pid), gone)
		return len(living) == 2 && !slices.ContainsFunc(living, func(pid int) bool { return slices.Contains(before, pid) })
	}, patience, time.Millisecond, "%v", r)
	require.NoError(t, visit(r.addr, 1, 3, false))
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGTERM)) // another reload may be under way
	r.first.Wait()
	require.True(t, r.first.ProcessState.Success(), "%v: %v", r.first.ProcessState, r)
	require.True(t, (&serving{addr: r.addr}).refuses())
}

// SIGTERM has the workers finish what they have begun; a second one ends all at once.
func TestProcsDrain(t *testing.T) {
	r := serveReloadable(t, "--engine", "net", "--procs", "2", "--drain", "1h")
	r.others = r.workers(t, 2)
	conn := r.dial(t)
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGTERM))
	require.Eventually(t, (&serving{addr: r.addr}).refuses, patience, time.Millisecond)
	exchange(t, conn)
	r.end(t)
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
}

// A service manager sends SIGTERM to all the processes of a service, and the one that watches over the others sends it to them, too:
// that is no second one.
func TestProcsTerminatedTogether(t *testing.T) {
	r := serveReloadable(t, "--engine", "net", "--procs", "2", "--drain", "1h")
	r.others = r.workers(t, 2)
	conn := r.dial(t)
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGTERM))
	for range 2 {
		for _, pid := range r.others {
			_ = syscall.Kill(pid, syscall.SIGTERM) // one of them has no connection, and may have ended
		}
		require.Eventually(t, (&serving{addr: r.addr}).refuses, patience, time.Millisecond)
	}
	exchange(t, conn)
	require.NoError(t, conn.Close())
	require.NoError(t, r.first.Wait())
	require.Empty(t, slices.DeleteFunc(r.others, gone))
}

// What a terminal sends to all the processes in its foreground counts once.
func TestProcsInterrupt(t *testing.T) {
	cmd := exec.Command(strand, serveArgs([]string{"--engine", "net", "--procs", "2", "--drain", "1h"})...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r := startReloadable(t, cmd)
	workers := r.workers(t, 2)
	conn := r.dial(t)
	require.NoError(t, syscall.Kill(-r.pid, syscall.SIGINT))
	require.Eventually(t, (&serving{addr: r.addr}).refuses, patience, time.Millisecond)
	exchange(t, conn)
	require.NoError(t, conn.Close())
	require.NoError(t, cmd.Wait())
	require.Empty(t, slices.DeleteFunc(workers, gone))
}

// A worker that is killed is replaced, and its neighbours' connections do not notice.
func TestProcsRestart(t *testing.T) {
	r := serveReloadable(t, "--proto", "line", "--procs", "2")
	workers := r.workers(t, 2)
	require.NoError(t, syscall.Kill(workers[0], syscall.SIGKILL))
	require.Eventually(t, func() bool { return gone(workers[0]) }, patience, time.Millisecond)
	conn := r.dial(t) // of the other
	require.NotContains(t, r.workers(t, 2), workers[0])
	exchange(t, conn)
	require.NoError(t, conn.Close())
	r.end(t, "worker has ended")
}

// Workers do not outlive the process that watches over them, however that ends; what they have begun they finish.
func TestProcsOrphans(t *testing.T) {
	r := serveReloadable(t, "--engine", "net", "--procs", "2")
	workers := r.workers(t, 2)
	conn := r.dial(t)
	require.NoError(t, syscall.Kill(r.pid, syscall.SIGKILL))
	require.Eventually(t, (&serving{addr: r.addr}).refuses, patience, time.Millisecond)
	exchange(t, conn)
	require.NoError(t, conn.Close())
	for _, pid := range workers {
		require.Eventually(t, func() bool { return gone(pid) }, patience, time.Millisecond)
	}
	again, err := net.Listen("tcp", r.addr)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

// A worker that is told to reload does not: that is for the process that watches over it.
func TestProcsHangupOfAWorker(t *testing.T) {
	r := serveReloadable(t, "--procs", "2")
	r.others = r.workers(t, 2)
	require.NoError(t, syscall.Kill(r.others[0], syscall.SIGHUP))
	require.NoError(t, syscall.Kill(r.others[0], syscall.SIGUSR2))
	for seed := range 10 {
		require.NoError(t, visit(r.addr, seed, 1, false))
	}
	require.ElementsMatch(t, r.others, r.workers(t, 2))
	r.end(t)
}

// Workers that cannot be started are the end of it, with a reason, and not the beginning of a series.
func TestProcsThatCannotStart(t *testing.T) {
	o := run(t, exec.Command("sh", "-c", `ulimit -n 60; exec "$0" serve --addr 127.0.0.1:0 --procs 2 --loops 64`, strand))
	require.Equal(t, 1, o.code, o.stderr)
	require.Empty(t, o.stdout)
	require.Contains(t, o.stderr, "strand: serve: worker ")
	require.Contains(t, o.stderr, " of 2: upgrade: the new process has ended before it was ready: exit status 2")
}

func TestProcsUntilEOF(t *testing.T) {
	stdin, hold, err := os.Pipe()
	require.NoError(t, err)
	defer stdin.Close()
	cmd := exec.Command(strand, serveArgs([]string{"--engine", "net", "--procs", "2", "--until-eof"})...)
	cmd.Stdin = stdin
	r := startReloadable(t, cmd)
	workers := r.workers(t, 2)
	conn := r.dial(t)
	require.NoError(t, hold.Close())
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, cmd.Wait())
	require.Empty(t, slices.DeleteFunc(workers, gone))
}
