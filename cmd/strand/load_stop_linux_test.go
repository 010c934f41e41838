package main_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

// loading is a running strand load.
type loading struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr *bufio.Reader
	said   string // on it, as far as it was read
	dir    string // of its temporary files
}

func startLoad(t *testing.T, args ...string) *loading {
	l := &loading{cmd: exec.Command(strand, args...), dir: t.TempDir()}
	l.cmd.Env = append(os.Environ(), "TMPDIR="+l.dir)
	l.cmd.Stdout = &l.stdout
	stderr, err := l.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, l.cmd.Start())
	t.Cleanup(func() {
		l.cmd.Process.Kill()
		l.cmd.Wait()
	})
	l.stderr = bufio.NewReader(stderr)
	return l
}

// until reads lines until one matches, and returns what it matches.
func (l *loading) until(t *testing.T, pattern string) []string {
	t.Helper()
	for {
		line, err := l.stderr.ReadString('\n')
		l.said += line
		require.NoError(t, err, l.said)
		if match := regexp.MustCompile(pattern).FindStringSubmatch(strings.TrimSuffix(line, "\n")); match != nil {
			return match
		}
	}
}

func (l *loading) signal(t *testing.T, sig os.Signal) { require.NoError(t, l.cmd.Process.Signal(sig)) }

// requireInterrupted waits for the end, which must be that of a run that was interrupted and has left nothing behind.
func (l *loading) requireInterrupted(t *testing.T) {
	t.Helper()
	rest, err := io.ReadAll(l.stderr)
	require.NoError(t, err)
	l.said += string(rest)
	l.cmd.Wait()
	require.Equal(t, 1, l.cmd.ProcessState.ExitCode(), l.said)
	require.Regexp(t, `(^|\n)strand: load: interrupted\n$`, l.said)
	left, err := os.ReadDir(l.dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// atWork is how long the run is under way that a test interrupts: its times do not depend on how fast the machine is.
const atWork = 2500 * time.Millisecond

// What was measured before the first signal is the result.
func TestLoadIsInterrupted(t *testing.T) {
	for name, c := range map[string]struct {
		signal os.Signal
		args   []string
	}{
		"one":    {os.Interrupt, nil},
		"shards": {syscall.SIGTERM, []string{"--shards", "2", "--conns", "6"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, nil)
			dir := t.TempDir()
			file, hlog := filepath.Join(dir, "result.json"), filepath.Join(dir, "log.hlog")
			args := loadArgs(s.addr, "--rate", "500", "--json", file, "--hlog", hlog, "--slo", "errors==0")
			l := startLoad(t, append(append(args, "--duration", "1h", "--windows", "2"), c.args...)...)
			if c.args == nil {
				l.until(t, `^  1\.0 s `)
			} else {
				l.until(t, `^2 shards run$`)
				time.Sleep(atWork) // it is measured meanwhile
			}
			l.signal(t, c.signal)
			l.until(t, `^interrupted: what is in flight is waited for, and another signal ends that$`)
			l.requireInterrupted(t)
			require.Contains(t, l.stdout.String(), "\nINTERRUPTED these are the figures until then\n")
			r, err := result.ReadFile(file)
			require.NoError(t, err)
			require.True(t, r.Interrupted)
			require.Len(t, r.Windows, 1)
			require.Greater(t, r.Windows[0].Seconds, 1.0)
			op := r.Operations["echo"]
			require.Zero(t, op.Censored)
			require.InDelta(t, 500*r.Windows[0].Seconds, op.Count, 250*r.Windows[0].Seconds)
			require.True(t, logged(t, hlog).Equals(op.Response.Histogram), "the log has all that the result has")
			require.NotNil(t, r.Server)
			require.Equal(t, s.cmd.Process.Pid, r.Server.PID)
			require.Greater(t, r.Server.End.At, 1.0)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, left, 2)
		})
	}
}

// Nothing was measured yet.
func TestLoadIsInterruptedEarly(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		when string
	}{
		"one":    {nil, ` connections, \d+ in flight$`},
		"shards": {[]string{"--shards", "2", "--conns", "6"}, `^2 shards run$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := startLoad(t, loadArgs(serve(t, nil).addr, append(c.args, "--warmup", "1h", "--json", filepath.Join(dir, "result.json"))...)...)
			l.until(t, c.when)
			l.signal(t, os.Interrupt)
			l.requireInterrupted(t)
			require.Empty(t, l.stdout.String())
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// A second signal does not wait for answers, and nothing is written.
func TestLoadIsInterruptedTwice(t *testing.T) {
	for name, args := range map[string][]string{"one": nil, "shards": {"--shards", "2", "--conns", "6"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer listener.Close()
			var mute atomic.Bool
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						buffer := make([]byte, 1<<16)
						for {
							n, err := conn.Read(buffer)
							if err != nil {
								return
							}
							if !mute.Load() {
								conn.Write(buffer[:n])
							}
						}
					}()
				}
			}()
			dir := t.TempDir()
			more := append(args, "--rate", "500", "--duration", "1h", "--drain", "1h", "--json", filepath.Join(dir, "r.json"), "--hlog", filepath.Join(dir, "h.hlog"))
			l := startLoad(t, loadArgs(listener.Addr().String(), more...)...)
			if args == nil {
				l.until(t, `^  1\.0 s `)
			} else {
				l.until(t, `^2 shards run$`)
				time.Sleep(atWork) // it is measured meanwhile
			}
			mute.Store(true)
			l.signal(t, os.Interrupt)
			l.until(t, `^interrupted: what is in flight is waited for`)
			stop := make(chan struct{})
			defer close(stop)
			go func() { // one that comes at once with the first is the same
				for {
					l.cmd.Process.Signal(os.Interrupt)
					select {
					case <-time.After(50 * time.Millisecond):
					case <-stop:
						return
					}
				}
			}()
			l.requireInterrupted(t)
			require.Empty(t, l.stdout.String())
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// Shards end with the process that has started them, however that ends.
func TestShardsEndWithTheirParent(t *testing.T) {
	l := startLoad(t, loadArgs(serve(t, nil).addr, "--shards", "2", "--conns", "6", "--duration", "1h")...)
	l.until(t, `^2 shards run$`)
	children := childrenOf(l.cmd.Process.Pid)
	require.Len(t, children, 2)
	l.signal(t, syscall.SIGKILL)
	l.cmd.Wait()
	for _, child := range children {
		require.Eventually(t, func() bool { return gone(child) }, patience, 10*time.Millisecond)
	}
}
