package main_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

var iperf3 = flag.String("iperf3", "", "path of iperf3, for TestAgreementWithIperf3 and TestLoadOfIperf3")

// startIperf3 starts a server on the first processor, and returns its address.
func startIperf3(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	_, port, _ := net.SplitHostPort(addr)
	startPinned(t, *iperf3, "-s", "-p", port, "--forceflush")
	return addr
}

// The server is a real one, and has received what was sent to it, stream by stream. It takes one test at a time.
func TestLoadOfIperf3(t *testing.T) {
	if *iperf3 == "" {
		t.Skip("make agreement runs it: it needs iperf3")
	}
	addr := startIperf3(t)
	for _, args := range [][]string{
		{"--conns", "3", "--size", "131072"},
		{"--conns", "128", "--size", "24-5000", "--rate", "2000"},
		{"--conns", "6", "--active", "3", "--threads", "2", "--pace", "max"},
	} {
		file := filepath.Join(t.TempDir(), "result.json")
		o := whenFree(t, func() *exec.Cmd {
			return exec.Command(strand, loadArgs(addr, append(args, "--protocol", "iperf3", "--workload", "sink", "--json", file)...)...)
		})
		require.Equal(t, 0, o.code, o.stderr)
		require.Regexp(t, `\nreceived +\d+ bytes on \d+ streams, as the server says: \S+ .?bit/s in `, o.stdout)
		r, err := result.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(r.Receipt.Streams), args[1])
		require.GreaterOrEqual(t, r.Receipt.Bytes, r.Windows[0].BytesOut)
		require.Greater(t, r.Receipt.Seconds, 1.1)
		require.Equal(t, result.Check{Checked: r.Check.Checked}, r.Check)
		require.GreaterOrEqual(t, r.Check.Checked, r.Windows[0].Messages)
	}

	// Whose control connection stands has the server to itself.
	addr = startIperf3(t)
	var conn net.Conn
	require.Eventually(t, func() bool {
		var err error
		conn, err = net.Dial("tcp", addr)
		return err == nil
	}, patience, 10*time.Millisecond)
	defer conn.Close()
	_, err := fmt.Fprintf(conn, "%036d\x00", 1)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, err = conn.Read(make([]byte, 1)) // it wants our parameters
	require.NoError(t, err)
	_, err = conn.Write([]byte("\x00\x00\x00\x27" + `{"tcp":true,"parallel":1,"len":131072 }`))
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1)) // and our stream
	require.NoError(t, err)
	o := run(t, exec.Command(strand, loadArgs(addr, "--protocol", "iperf3", "--workload", "sink")...))
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "iperf3 server "+addr+": the server is busy running a test")
}

// limit is what the way to the server takes in TestAgreementWithIperf3, in bytes a second: far less than either end can do.
const limit = 100e6

// Bytes a second into the same server, with the same number of streams and the same size of block. The way there has a limit that both must find: without one the rate
// would be whoever has the processors, and that changes from one second to the next. They take turns, and the median of the rounds' ratios must be within 5 %.
func TestAgreementWithIperf3(t *testing.T) {
	if *iperf3 == "" {
		t.Skip("make agreement runs it: it needs iperf3")
	}
	const rounds = 5
	addr := limited(t, startIperf3(t))
	_, port, _ := net.SplitHostPort(addr)
	for _, streams := range []string{"1", "4"} {
		t.Run(streams+" streams", func(t *testing.T) {
			var ratios []float64
			for round := range rounds {
				var ours, theirs float64
				for turn := range 2 {
					if (round+turn)%2 == 0 {
						ours = loadBytes(t, addr, "--protocol", "iperf3", "--workload", "sink", "--conns", streams, "--size", "131072")
					} else {
						theirs = iperf3Bytes(t, "-c", "127.0.0.1", "-p", port, "-P", streams, "-l", "131072", "-O", "1", "-t", "3", "-J")
					}
				}
				t.Logf("%.1f and %.1f MB/s: %.3f", ours/1e6, theirs/1e6, ours/theirs)
				ratios = append(ratios, ours/theirs)
			}
			slices.Sort(ratios)
			median := ratios[rounds/2]
			t.Logf("median %.3f", median)
			require.InDelta(t, 1, median, 0.05)
		})
	}
}

// limited returns the address of a relay to a server, which passes on limit bytes a second of all connections together, and keeps little on the way.
func limited(t *testing.T, server string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	var next time.Time // when more may be passed on
	wait := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		if most := time.Now().Add(-50 * time.Millisecond); next.Before(most) { // so much may be made up for
			next = most
		}
		next = next.Add(time.Duration(float64(n) / limit * 1e9))
		time.Sleep(time.Until(next)) // that is the limit
	}
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = conn.(*net.TCPConn).SetReadBuffer(1 << 17)
				to, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				defer to.Close()
				all.Go(func() {
					_, _ = io.Copy(conn, to)
					conn.Close()
				})
				buf := make([]byte, 1<<16)
				for {
					n, err := conn.Read(buf)
					if n > 1000 { // of the control connection all is less
						wait(n)
					}
					if _, writeErr := to.Write(buf[:n]); err != nil || writeErr != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return listener.Addr().String()
}

// notFree is what clients say of a server that has not yet done with the one before, or is listening anew after it.
var notFree = regexp.MustCompile(`busy running a test|[Cc]onnection refused`)

// whenFree runs a command until it finds the server free.
func whenFree(t *testing.T, command func() *exec.Cmd) outcome {
	for deadline := time.Now().Add(patience); ; {
		o := run(t, command())
		if !notFree.MatchString(o.stdout+o.stderr) || time.Now().After(deadline) {
			return o
		}
	}
}

// loadBytes is how many bytes a second strand load sends.
func loadBytes(t *testing.T, addr string, args ...string) float64 {
	file := filepath.Join(t.TempDir(), "result.json")
	o := whenFree(t, func() *exec.Cmd {
		return pinned("1", append([]string{strand, "load", addr, "--warmup", "1s", "--duration", "3s", "--max-busy=-1", "--json", file}, args...)...)
	})
	require.Equal(t, 0, o.code, o.stderr)
	r, err := result.ReadFile(file)
	require.NoError(t, err)
	return float64(r.Windows[0].BytesOut) / r.Windows[0].Seconds
}

// iperf3Bytes is how many bytes a second iperf3 says that it has sent.
func iperf3Bytes(t *testing.T, args ...string) float64 {
	o := whenFree(t, func() *exec.Cmd { return pinned("1", append([]string{*iperf3}, args...)...) })
	require.Equal(t, 0, o.code, o.stdout)
	var said struct {
		End struct {
			Sent struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_sent"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &said), o.stdout)
	require.Positive(t, said.End.Sent.Rate)
	return said.End.Sent.Rate / 8
}
