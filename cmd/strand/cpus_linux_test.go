package main_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProcessorsOfLoadAndBench(t *testing.T) {
	s := serve(t, nil)
	o := run(t, exec.Command(strand, loadArgs(s.addr, "--client-cpus", "0")...))
	require.Equal(t, 0, o.code, o.stderr)
	requireUsage(t, run(t, exec.Command(strand, loadArgs(s.addr, "--client-cpus", "1023")...)), "client-cpus: processors: this process may use none of 1023")
	benchmark := func(more ...string) outcome {
		return run(t, exec.Command(strand, append([]string{"bench", "--quick", "--scenario", "echo", "--engines", "net", "--conns", "1"}, more...)...))
	}
	requireUsage(t, benchmark("--client-cpus", "0", "--server-cpus", "0"), "client-cpus: 0 are the server's, too")
	requireUsage(t, benchmark("--client-cpus", "0"), "need --server-cpus")
	o = benchmark("--server-cpus", "0")
	require.Equal(t, 0, o.code, o.stderr)
	o = benchmark("--server-cpus", "1023")
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "this process may use none of 1023")
}
