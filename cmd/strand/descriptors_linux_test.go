package main_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// faults.md X5: a server that runs out of descriptors, again and again, loses no client that waits: each is served when another
// leaves. Meanwhile it does next to nothing, and says so now and then.
func TestDescriptorsRunOut(t *testing.T) {
	const descriptors, clients, rounds = 40, 100, 3
	for _, engine := range everyEngine[1:] {
		t.Run(engine, func(t *testing.T) {
			s := serveWithin(t, descriptors, engine)
			began := time.Now()
			for range rounds {
				type result struct {
					client *client
					err    error
				}
				served := make(chan result, clients)
				for i := range clients {
					c, err := dialClient(s.addr, i)
					require.NoError(t, err)
					t.Cleanup(func() { c.Close() })
					go func() { served <- result{c, c.exchange(100)} }()
				}
				highest := fmt.Sprintf("/proc/%d/fd/%d", s.cmd.Process.Pid, descriptors-1)
				require.Eventually(t, func() bool { _, err := os.Lstat(highest); return err == nil }, patience, time.Millisecond)
				for range clients { // each makes room for another
					r := <-served
					require.NoError(t, r.err)
					require.NoError(t, r.client.Close())
				}
			}
			// All is taken once more, by clients that stay.
			var stay []*client
			for i := range descriptors {
				c, err := dialClient(s.addr, i)
				require.NoError(t, err)
				t.Cleanup(func() { c.Close() })
				stay = append(stay, c)
			}
			before := processorTime(t, s.cmd.Process.Pid)
			const span = 400 * time.Millisecond
			time.Sleep(span) // it is what the server does in a time that is measured
			require.LessOrEqual(t, processorTime(t, s.cmd.Process.Pid)-before, span/20+tick)
			for _, c := range stay {
				require.NoError(t, c.Close())
			}
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			_, err := io.Copy(io.Discard, s.stdout)
			require.NoError(t, err)
			require.NoError(t, s.cmd.Wait())
			lines := strings.Count(s.stderr.String(), "accepting pauses")
			require.Positive(t, lines)
			require.LessOrEqual(t, lines, 1+int(time.Since(began)/time.Second), "%s", &s.stderr)
		})
	}
}

// serveWithin runs a server that may have so many descriptors.
func serveWithin(t *testing.T, descriptors int, engine string) *serving {
	t.Helper()
	args := append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, descriptors), strand}, serveArgs(strings.Fields("--engine "+engine))...)
	return startServing(t, nil, exec.Command("sh", args...))
}

// tick is the unit of times in proc_pid_stat(5), on every machine that Linux runs on today.
const tick = 10 * time.Millisecond

// processorTime returns how much a process has had.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, after, _ := strings.Cut(string(data), ") ") // the name before may have anything in it
	fields := strings.Fields(after)
	var ticks time.Duration
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		require.NoError(t, err)
		ticks += time.Duration(n)
	}
	return ticks * tick
}
