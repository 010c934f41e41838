package main_test

import (
	"compress/gzip"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

// A server of this machine is watched by itself, and asked for more where it has a control socket. Of several processes, only the first one
// that was started watches.
func TestLoadWatches(t *testing.T) {
	control := filepath.Join(t.TempDir(), "control")
	s := serve(t, nil, "--control", "unix:"+control)
	pid := strconv.Itoa(s.cmd.Process.Pid)
	for name, c := range map[string]struct {
		args    []string
		runtime bool
	}{
		"found":              {nil, false},
		"named":              {[]string{"--server-pid", pid}, false},
		"asked":              {[]string{"--server-control", "unix:" + control}, true},
		"found, shards":      {[]string{"--shards", "2", "--conns", "6"}, false},
		"asked, shards":      {[]string{"--shards", "2", "--conns", "6", "--server-control", "unix:" + control}, true},
		"windows and shards": {[]string{"--shards", "2", "--conns", "6", "--windows", "2"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, profile, page := filepath.Join(dir, "result.json"), filepath.Join(dir, "profile"), filepath.Join(dir, "page.html")
			args := loadArgs(s.addr, append(c.args, "--rate", "500", "--json", file)...)
			if c.runtime {
				args = append(args, "--profile", profile)
			}
			o := run(t, exec.Command(strand, args...))
			require.Equal(t, 0, o.code, o.stderr)
			require.Regexp(t, `\nserver      strand: [0-9.]+ µs of CPU for a message, `, o.stdout)
			require.Regexp(t, `\n            in the end RSS [0-9.]+ MiB, PSS [0-9.]+ MiB`, o.stdout)
			r, err := result.ReadFile(file)
			require.NoError(t, err)
			require.NotNil(t, r.Server)
			require.Empty(t, r.Unwatched)
			require.Equal(t, s.cmd.Process.Pid, r.Server.PID)
			require.Negative(t, r.Server.Idle.At)
			require.LessOrEqual(t, r.Server.Before.At, r.Server.Idle.At)
			require.Greater(t, r.Server.End.At, r.Server.Begin.At)
			require.Greater(t, r.Server.End.VoluntarySwitches, r.Server.Begin.VoluntarySwitches)
			var cpu float64
			for _, w := range r.Windows {
				cpu += w.CPUUser + w.CPUSystem
			}
			require.InDelta(t, r.Server.End.CPUUser+r.Server.End.CPUSystem-r.Server.Begin.CPUUser-r.Server.Begin.CPUSystem, cpu, 1e-6)
			watched := 0
			for _, i := range r.Intervals {
				if i.Server != nil {
					watched++
					require.Positive(t, i.Server.RSS)
					require.Positive(t, i.Server.PSS)
				}
			}
			require.Positive(t, watched)
			require.Equal(t, c.runtime, r.Server.End.Runtime != nil)
			if c.runtime {
				require.Contains(t, o.stdout, " goroutines, ")
				f, err := os.Open(profile)
				require.NoError(t, err)
				defer f.Close()
				_, err = gzip.NewReader(f)
				require.NoError(t, err)
			}
			require.Equal(t, outcome{}, run(t, exec.Command(strand, "report", file, "-o", page)))
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			require.Contains(t, string(text), "strand (process "+pid+")")
			require.Contains(t, string(text), "Context switches in the windows")
		})
	}
}

func TestLoadDoesNotWatch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "result.json")
	o := run(t, exec.Command(strand, loadArgs(serve(t, nil).addr, "--server-pid", "none", "--json", file)...))
	require.Equal(t, 0, o.code, o.stderr)
	require.NotContains(t, o.stdout, "\nserver ")
	r, err := result.ReadFile(file)
	require.NoError(t, err)
	require.Nil(t, r.Server)
	require.Empty(t, r.Unwatched)

	// Of several processes it cannot be known which one is meant.
	o = run(t, exec.Command(strand, loadArgs(serve(t, nil, "--procs", "2").addr, "--json", file)...))
	require.Equal(t, 0, o.code, o.stderr)
	require.Regexp(t, `\nserver      not watched: listener on tcp 127\.0\.0\.1:\d+: processes [0-9 ]+ have it: name one of them by its id\n`, o.stdout)
	r, err = result.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, r.Unwatched, "name one of them by its id")
	a, b := serve(t, nil), serve(t, nil)
	_, port, err := net.SplitHostPort(b.addr)
	require.NoError(t, err)
	o = run(t, exec.Command(strand, loadArgs(a.addr+","+port, "--json", file)...))
	require.Equal(t, 0, o.code, o.stderr)
	require.Contains(t, o.stdout, "\nserver      not watched: processes ")
}

// Prometheus is told while the run goes on, and not any more when it is over.
func TestLoadTellsPrometheus(t *testing.T) {
	l := startLoad(t, loadArgs(serve(t, nil).addr, "--rate", "500", "--duration", "1h", "--run-id", "this", "--prom", "127.0.0.1:0")...)
	url := l.until(t, `^metrics on (http://127\.0\.0\.1:\d+/metrics)$`)[1]
	var text string
	require.Eventually(t, func() bool {
		text, _ = get(t, url)
		return regexp.MustCompile(`(?m)^strand_load_response_seconds_count\{operation="echo"\} [1-9]`).MatchString(text)
	}, patience, 10*time.Millisecond)
	require.Contains(t, text, "strand_load_info{run=\"this\",shard=\"1of1\"} 1\n")
	require.Contains(t, text, "strand_load_connections 5\n")
	require.Contains(t, text, "strand_load_target_rate 500\n")
	l.until(t, `^  1\.0 s `)
	l.signal(t, os.Interrupt)
	l.requireInterrupted(t)
	_, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics"))
	require.ErrorContains(t, err, "refused")
}
