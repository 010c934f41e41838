package main_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

func TestLoadInRooms(t *testing.T) {
	s := serve(t, nil, "--proto", "broadcast")
	o := run(t, exec.Command(strand, loadArgs(s.addr, "--workload", "broadcast", "--conns", "9", "--rooms", "3", "--rate", "200")...))
	require.Equal(t, 0, o.code, o.stderr)
	require.Regexp(t, `^broadcast in 3 rooms, 9 connections, 64 B, 200/s constant\n`, o.stdout)
	require.Regexp(t, `\nbroadcast response +220 `, o.stdout)
	require.Regexp(t, `\ndelivery response +660 `, o.stdout)

	o = run(t, exec.Command(strand, loadArgs(s.addr, "--workload", "broadcast", "--rooms", "3", "--active", "2")...))
	require.Equal(t, 2, o.code)
	require.Contains(t, o.stderr, "rooms: 3 rooms need as many senders, and only 2 connections are active")
}

func TestLoadInStages(t *testing.T) {
	s := serve(t, nil)
	file, page := filepath.Join(t.TempDir(), "result.json"), filepath.Join(t.TempDir(), "report.html")
	args := []string{"load", s.addr, "--conns", "5", "--warmup", "50ms", "--max-late=-1s", "--min-achieved=-1", "--max-busy=-1"}
	o := run(t, exec.Command(strand, append(args, "--stages", "200:500ms,400:1s", "--stages", "400-800:500ms", "--json", file, "--slo", "errors==0")...))
	require.Equal(t, 0, o.code, o.stderr)
	require.Regexp(t, `^echo, 5 connections, 64 B, 200 to 800/s in 3 stages constant\n`, o.stdout)
	require.Regexp(t, `\necho response +800 `, o.stdout, "100, 400 and 300")
	require.Regexp(t, `(?m)^3 +\S+ +600/s +\S+/s `, o.stdout)
	r, err := result.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, r.Windows, 3)
	require.Equal(t, 400.0, r.Target)
	o = run(t, exec.Command(strand, "report", "-o", page, file))
	require.Equal(t, 0, o.code, o.stderr)

	// Two processes, each with its share.
	o = run(t, exec.Command(strand, append(args, "--stages", "200:500ms,400:500ms", "--shards", "2", "--json", file)...))
	require.Equal(t, 0, o.code, o.stderr)
	r, err = result.ReadFile(file)
	require.NoError(t, err)
	require.InDelta(t, 200, r.Windows[0].Target, 1e-6)
	require.InDelta(t, 400, r.Windows[1].Target, 1e-6)
	require.InDelta(t, 300, r.Operations["echo"].Count, 4)

	for flag, want := range map[string]string{
		"--rate=5":              "rate: stages have their own",
		"--duration=10s":        "duration: stages have their own",
		"--windows=1":           "windows: each stage is one",
		"--pace=max":            "stages: pace max has no rate",
		"--stages=1000":         `"1000" is not RATE:DURATION`,
		"--workload=push":       "stages: workload push has none",
		"--stages=1:1s,2-x:10s": `"2-x:10s" has no rate`,
	} {
		o := run(t, exec.Command(strand, append(args, "--stages", "200:500ms", flag)...))
		require.Equal(t, 2, o.code, flag)
		require.Contains(t, o.stderr, want)
	}
}
