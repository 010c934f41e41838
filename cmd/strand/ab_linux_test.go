package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/ab"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/search"
)

// shortly are flags that make runs as short as they can be.
func shortly(args ...string) []string {
	return append(args, "--conns", "4", "--settle", "0s", "--warmup", "10ms", "--duration", "200ms")
}

// A server that waits 5 ms before each answer is slower than one that does not, and that is found. The children can be watched.
func TestAB(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	command := strand + " serve --until-eof --addr 127.0.0.1:0 --engine net --proto "
	results := filepath.Join(t.TempDir(), "results")
	o := run(t, exec.Command(strand, shortly("ab", "--a", command+"block --for 5ms", "--b", command+"echo", "--json", file, "--results", results)...))
	require.Equal(t, 0, o.code, o.stderr)
	require.Regexp(t, `(?m)^operations .* better$`, o.stdout)
	require.Regexp(t, `(?m)^p50 .* better$`, o.stdout)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var report ab.Report
	require.NoError(t, json.Unmarshal(text, &report))
	require.Equal(t, 10, report.Runs)
	require.Equal(t, "operations", report.Metrics[0].Name)
	require.Greater(t, report.Metrics[0].Ratio, 1.5)
	memory := report.Metrics[len(report.Metrics)-1]
	require.Equal(t, "server memory", memory.Name)
	require.Greater(t, memory.A.Center, float64(1<<20))

	// A report of the runs has two columns, each of ten rounds, with the first as what the other is compared with.
	files, err := filepath.Glob(filepath.Join(results, "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 20)
	for i, file := range files {
		r, err := result.ReadFile(file)
		require.NoError(t, err)
		side := "A: " + command + "block --for 5ms"
		if i >= 10 {
			side = "B: " + command + "echo"
		}
		require.Equal(t, map[string]string{result.TagSide: side, result.TagRound: strconv.Itoa(i%10 + 1)}, r.Tags)
		require.NotNil(t, r.Server)
	}
	page := filepath.Join(t.TempDir(), "report.html")
	o = run(t, exec.Command(strand, append(append([]string{"report"}, files...), "-o", page)...))
	require.Equal(t, outcome{}, o)
	text, err = os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(text), "20 runs")
	require.Len(t, regexp.MustCompile(`<article class="verdict `).FindAllString(string(text), -1), 2, "two groups")
	require.Regexp(t, `side=A: [^<]*block --for 5ms`, string(text))
	require.Regexp(t, `×[0-9.,]+ better`, string(text))
}

// Servers that run are compared by their addresses, at a rate that both can do.
func TestABOfAddresses(t *testing.T) {
	for proto, network := range map[string]string{"echo": "", "udp-echo": "udp:"} {
		a, b := serve(t, nil, "--proto", proto), serve(t, nil, "--proto", proto, "--engine", "net")
		o := run(t, exec.Command(strand, shortly("ab", "--a", network+a.addr, "--b", network+b.addr)...))
		require.Equal(t, 0, o.code, o.stderr)
		require.Contains(t, o.stdout, "A: "+network+a.addr)
		require.Contains(t, o.stdout, "server memory", "they are of this machine")
	}
}

func TestSearch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "answer.json")
	s := serve(t, nil)
	args := shortly("search", s.addr, "--first", "200", "--highest", "400", "--json", file)
	o := run(t, exec.Command(strand, append(args, "--slo", "p50<10s", "--slo", "errors==0")...))
	text, err := os.ReadFile(file)
	require.NoError(t, err, o.stderr)
	var answer search.Answer
	require.NoError(t, json.Unmarshal(text, &answer))
	if o.code == 2 { // on a busy machine the generator may be late even at this rate, and says so
		require.Contains(t, o.stderr, "the generator is at its limit, not the server")
		require.NotEmpty(t, answer.Limit)
	} else {
		require.Equal(t, 0, o.code, o.stderr)
		require.Contains(t, o.stdout, "400/s is the highest rate with p50<10s, errors==0\nit may be more: the limit was the highest rate that was to be tried, 400/s\n")
		require.Equal(t, 400.0, answer.Rate)
		require.GreaterOrEqual(t, len(answer.Tries), 4)
	}

	o = run(t, exec.Command(strand, append(args, "--slo", "p50<1ns")...))
	require.Contains(t, []int{2, 99}, o.code, o.stderr)
	require.Contains(t, o.stdout, "0/s is the highest rate with p50<1ns\n")
	require.Contains(t, o.stderr, "p50<1ns was ")
}
