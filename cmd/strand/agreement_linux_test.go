package main_test

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

var (
	wrk            = flag.String("wrk", "", "path of wrk, for the tests of agreement")
	redisServer    = flag.String("redis-server", "", "path of redis-server, for the tests of agreement")
	redisBenchmark = flag.String("redis-benchmark", "", "path of redis-benchmark, for the tests of agreement")
)

// agreement is one thing that strand load and another program measure in turn, on the same server.
type agreement struct {
	name  string
	addr  string
	load  []string
	other func(addr string, conns, seconds int) []string
	rate  string // how the other says what it has reached a second
	p50   string // and the median of latency, if it does
}

func agreements(t *testing.T) []agreement {
	if *wrk == "" || *redisServer == "" || *redisBenchmark == "" {
		t.Skip("make agreement runs it: it needs other programs and a quiet machine")
	}
	web := strings.TrimPrefix(startPinned(t, strand, "serve", "--engine", "net", "--proto", "http", "--addr", "127.0.0.1:0", "--until-eof"), "listening on ")
	web, _, _ = strings.Cut(web, " ")
	redis := startRedis(t)
	redisArgs := func(test string, pipeline, rate int) func(string, int, int) []string {
		return func(addr string, conns, seconds int) []string {
			_, port, _ := net.SplitHostPort(addr)
			requests := rate * seconds
			if conns < saturatingConns { // it is the path that limits them
				requests = conns * pipeline * seconds * int(time.Second/pathDelay)
			}
			return []string{*redisBenchmark, "-p", port, "-c", strconv.Itoa(conns), "-n", strconv.Itoa(requests), "-t", test, "-d", "64", "-P", strconv.Itoa(pipeline), "-q",
				"-r", strconv.Itoa(conns)} // as many keys as strand load has: one for each connection
		}
	}
	const redisRate, redisP50 = `([0-9.]+) requests per second`, `p50=([0-9.]+) (msec)`
	return []agreement{
		{"wrk", web, []string{"--protocol", "http"}, func(addr string, conns, seconds int) []string {
			return []string{*wrk, "-t1", fmt.Sprint("-c", conns), fmt.Sprintf("-d%ds", seconds), "--latency", "http://" + addr + "/"}
		}, `Requests/sec:\s+([0-9.]+)`, `50%\s+([0-9.]+)(us|ms|s)`},
		{"redis-benchmark ping", redis, []string{"--protocol", "resp-ping"}, redisArgs("ping_mbulk", 1, 25000), redisRate, redisP50},
		{"redis-benchmark set", redis, []string{"--protocol", "resp-set"}, redisArgs("set", 1, 25000), redisRate, redisP50},
		{"redis-benchmark set, 16 at once", redis, []string{"--protocol", "resp-set", "--batch", "16"}, redisArgs("set", 16, 200000), redisRate, redisP50},
	}
}

const (
	// pathConns over a path of pathDelay: what is reached is theirs alone, whatever the machine does besides.
	pathConns = 50
	pathDelay = 10 * time.Millisecond

	// saturatingConns are so many that the server never runs out of requests while it has its processor. With fewer it sleeps in its own time, by how
	// fast they are who load it, and is given more of it in turn.
	saturatingConns = 500
)

// What each connection can do over a path of 10 ms is known: all must find that, both as a rate and as latency.
func TestAgreementOverAPath(t *testing.T) {
	for _, a := range agreements(t) {
		t.Run(a.name, func(t *testing.T) {
			const rounds = 5
			addr := startPath(t, a.addr)
			var rates, latencies []float64
			for round := range rounds {
				ours, theirs := a.measure(t, addr, round, pathConns, 2)
				t.Logf("%.0f and %.0f a second: %.3f; p50 %v and %v: %.3f", ours.rate, theirs.rate, ours.rate/theirs.rate,
					ours.p50, theirs.p50, ours.p50.Seconds()/theirs.p50.Seconds())
				rates = append(rates, ours.rate/theirs.rate)
				latencies = append(latencies, ours.p50.Seconds()/theirs.p50.Seconds())
			}
			slices.Sort(rates)
			slices.Sort(latencies)
			t.Logf("medians %.3f and %.3f", rates[rounds/2], latencies[rounds/2])
			require.InDelta(t, 1, rates[rounds/2], 0.05)
			require.InDelta(t, 1, latencies[rounds/2], 0.05)
		})
	}
}

// The server has a part of one processor, which it shares with programs that do nothing but compute, and whoever loads it has the other to itself: the rate
// is the server's then, and the same for all that measure it rightly. The machine is not the same from second to second, so they take many short turns.
func TestAgreementOnASaturatedServer(t *testing.T) {
	all := agreements(t)
	for range 3 {
		burner := pinned("0", "sh", "-c", "while :; do :; done")
		require.NoError(t, burner.Start())
		t.Cleanup(func() {
			burner.Process.Kill()
			burner.Wait()
		})
	}
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) {
			const rounds = 25
			var ratios []float64
			for round := range rounds {
				ours, theirs := a.measure(t, a.addr, round, saturatingConns, 1)
				t.Logf("%.0f and %.0f a second: %.3f", ours.rate, theirs.rate, ours.rate/theirs.rate)
				ratios = append(ratios, ours.rate/theirs.rate)
			}
			slices.Sort(ratios)
			t.Logf("quartiles %.3f, %.3f and %.3f", ratios[rounds/4], ratios[rounds/2], ratios[3*rounds/4])
			require.InDelta(t, 1, ratios[rounds/2], 0.05)
		})
	}
}

// measured is what one program has said.
type measured struct {
	rate float64 // messages a second
	p50  time.Duration
}

// measure has both take their turn, in an order that changes from round to round.
func (a *agreement) measure(t *testing.T, addr string, round, conns, seconds int) (ours, theirs measured) {
	for turn := range 2 {
		if (round+turn)%2 == 0 {
			ours = a.byLoad(t, addr, conns, seconds)
		} else {
			theirs = a.byOther(t, addr, conns, seconds)
		}
	}
	return ours, theirs
}

func (a *agreement) byLoad(t *testing.T, addr string, conns, seconds int) measured {
	file := filepath.Join(t.TempDir(), "result.json")
	args := append([]string{strand, "load", addr, "--conns", strconv.Itoa(conns), "--warmup", "200ms", "--duration", fmt.Sprintf("%ds", seconds),
		"--max-busy=-1", "--json", file}, a.load...)
	o := run(t, pinned("1", args...))
	require.Equal(t, 0, o.code, o.stderr)
	r, err := result.ReadFile(file)
	require.NoError(t, err)
	w := r.Windows[0]
	require.Len(t, r.Operations, 1)
	var p50 int64
	for _, operation := range r.Operations {
		p50 = operation.Response.ValueAtQuantile(50)
	}
	return measured{float64(w.Messages) / w.Seconds, time.Duration(p50)}
}

func (a *agreement) byOther(t *testing.T, addr string, conns, seconds int) measured {
	args := a.other(addr, conns, seconds)
	o := run(t, pinned("1", args...))
	require.Equal(t, 0, o.code, o.stderr)
	said := func(pattern string) []string {
		match := regexp.MustCompile(pattern).FindStringSubmatch(o.stdout)
		require.NotNil(t, match, fmt.Sprintf("%v said %s", args, o.stdout))
		return match
	}
	rate, err := strconv.ParseFloat(said(a.rate)[1], 64)
	require.NoError(t, err)
	p50 := said(a.p50)
	latency, err := time.ParseDuration(p50[1] + strings.TrimSuffix(p50[2], "ec"))
	require.NoError(t, err)
	return measured{rate, latency}
}

// startPath listens for what is to reach addr, and lets what comes back from there wait for pathDelay.
func startPath(t *testing.T, addr string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", addr)
			if err != nil {
				near.Close()
				continue
			}
			all.Go(func() {
				io.Copy(far, near)
				far.Close()
			})
			all.Go(func() { delay(near, far) })
		}
	})
	return listener.Addr().String()
}

func delay(near, far net.Conn) {
	type chunk struct {
		due  time.Time
		data []byte
	}
	chunks := make(chan chunk, 1024)
	go func() {
		defer close(chunks)
		for {
			data := make([]byte, 4096)
			n, err := far.Read(data)
			if err != nil {
				return
			}
			chunks <- chunk{time.Now().Add(pathDelay), data[:n]}
		}
	}()
	for c := range chunks {
		time.Sleep(time.Until(c.due)) // that is how long the path is
		near.Write(c.data)
	}
	near.Close()
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
