package main_test

import (
	"flag"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

var (
	wrk            = flag.String("wrk", "", "path of wrk, for TestAgreement")
	redisServer    = flag.String("redis-server", "", "path of redis-server, for TestAgreement")
	redisBenchmark = flag.String("redis-benchmark", "", "path of redis-benchmark, for TestAgreement")
)

// The server has a part of one processor, which it shares with programs that do nothing but compute, and whoever loads it has the other to itself: the rate
// is the server's then, and the same for all that measure it rightly. They take turns, and the median of the rounds' ratios must be within 5 %.
func TestAgreement(t *testing.T) {
	if *wrk == "" || *redisServer == "" || *redisBenchmark == "" {
		t.Skip("make agreement runs it: it needs other programs and a quiet machine")
	}
	const rounds = 7
	for range 3 {
		burner := pinned("0", "sh", "-c", "while :; do :; done")
		require.NoError(t, burner.Start())
		t.Cleanup(func() {
			burner.Process.Kill()
			burner.Wait()
		})
	}
	web := strings.TrimPrefix(startPinned(t, strand, "serve", "--engine", "net", "--proto", "http", "--addr", "127.0.0.1:0", "--until-eof"), "listening on ")
	web, _, _ = strings.Cut(web, " ")
	redis := startRedis(t)
	for _, c := range []struct {
		name  string
		load  []string
		other []string
		rate  string // how the other says it
	}{
		{"wrk", []string{web, "--protocol", "http", "--conns", "50"},
			[]string{*wrk, "-t1", "-c50", "-d2s", "http://" + web + "/"}, `Requests/sec:\s+([0-9.]+)`},
		{"redis-benchmark ping", []string{redis, "--protocol", "resp-ping", "--conns", "50"},
			redisArgs(redis, "ping_mbulk", 1), `([0-9.]+) requests per second`},
		{"redis-benchmark set", []string{redis, "--protocol", "resp-set", "--conns", "50"},
			redisArgs(redis, "set", 1), `([0-9.]+) requests per second`},
		{"redis-benchmark set, 16 at once", []string{redis, "--protocol", "resp-set", "--conns", "50", "--batch", "16"},
			redisArgs(redis, "set", 16), `([0-9.]+) requests per second`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ratios []float64
			for round := range rounds {
				var ours, theirs float64
				for turn := range 2 {
					if (round+turn)%2 == 0 {
						ours = loadRate(t, c.load)
					} else {
						theirs = otherRate(t, c.other, c.rate)
					}
				}
				t.Logf("%.0f and %.0f a second: %.3f", ours, theirs, ours/theirs)
				ratios = append(ratios, ours/theirs)
			}
			slices.Sort(ratios)
			median := ratios[rounds/2]
			t.Logf("median %.3f", median)
			require.InDelta(t, 1, median, 0.05)
		})
	}
}

func redisArgs(addr, test string, pipeline int) []string {
	_, port, _ := net.SplitHostPort(addr)
	return []string{*redisBenchmark, "-p", port, "-c", "50", "-n", strconv.Itoa(50000 * min(6, pipeline)), "-t", test, "-d", "64", "-P", strconv.Itoa(pipeline), "-q"}
}

func pinned(cpu string, args ...string) *exec.Cmd {
	return exec.Command("taskset", append([]string{"-c", cpu}, args...)...)
}

// startPinned starts a server on the first processor, and returns its first line.
func startPinned(t *testing.T, args ...string) string {
	cmd := pinned("0", args...)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	line := make([]byte, 200)
	n, err := stdout.Read(line)
	require.NoError(t, err)
	return string(line[:n])
}

func startRedis(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	_, port, _ := net.SplitHostPort(addr)
	startPinned(t, *redisServer, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond)
	return addr
}

func loadRate(t *testing.T, args []string) float64 {
	file := filepath.Join(t.TempDir(), "result.json")
	all := append([]string{strand, "load", "--warmup", "200ms", "--duration", "2s", "--max-busy=-1", "--json", file}, args...)
	o := run(t, pinned("1", all...))
	require.Equal(t, 0, o.code, o.stderr)
	r, err := result.ReadFile(file)
	require.NoError(t, err)
	return float64(r.Windows[0].Messages) / r.Windows[0].Seconds
}

func otherRate(t *testing.T, args []string, rate string) float64 {
	o := run(t, pinned("1", args...))
	require.Equal(t, 0, o.code, o.stderr)
	match := regexp.MustCompile(rate).FindStringSubmatch(o.stdout)
	require.NotNil(t, match, fmt.Sprintf("%v said %s", args, o.stdout))
	figure, err := strconv.ParseFloat(match[1], 64)
	require.NoError(t, err)
	return figure
}
