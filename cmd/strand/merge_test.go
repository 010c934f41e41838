//go:build unix

package main_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

// shard is what one process of a run left: its result, its log, and the histogram that is in both.
func shard(t *testing.T, dir string, index, of int) (run *result.Run, files []string) {
	config := json.RawMessage(`{"conns":10}`)
	hash, err := result.HashConfig(config)
	require.NoError(t, err)
	h := result.NewHistogram()
	for i := range 100 {
		h.Record(int64(index) * int64(i+1) * int64(time.Millisecond))
	}
	run = &result.Run{
		SchemaVersion: result.SchemaVersion, ID: "run-1", Name: "echo, 10 connections",
		Begin: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Config: config, ConfigHash: hash, Shard: result.Shard{Index: index, Of: of},
		Windows:    []result.Window{{Seconds: 1, Operations: 100, Messages: 100}},
		Operations: map[string]*result.Operation{"echo": {Count: 100, Response: h, Service: h, Lag: result.NewHistogram()}},
	}
	path := filepath.Join(dir, fmt.Sprintf("%d.json", index))
	require.NoError(t, run.WriteFile(path))

	log, err := result.Create(filepath.Join(dir, fmt.Sprintf("%d.hlog", index)))
	require.NoError(t, err)
	w, err := result.NewLogWriter(log, run.LogHeader())
	require.NoError(t, err)
	require.NoError(t, w.Write(result.Entry{Begin: run.Begin, Length: time.Second, Operation: "echo", Kind: result.KindResponse, Histogram: h}))
	require.NoError(t, log.Commit())
	return run, []string{path, filepath.Join(dir, fmt.Sprintf("%d.hlog", index))}
}

func merge(t *testing.T, args ...string) outcome {
	return run(t, exec.Command(strand, append([]string{"merge"}, args...)...))
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	one, first := shard(t, dir, 1, 2)
	two, second := shard(t, dir, 2, 2)
	whole := result.NewHistogram()
	require.NoError(t, whole.Add(one.Operations["echo"].Response))
	require.NoError(t, whole.Add(two.Operations["echo"].Response))

	jsonFile, logFile := filepath.Join(dir, "merged.json"), filepath.Join(dir, "merged.hlog")
	o := merge(t, append(append(second, first...), "--json", jsonFile, "--hlog", logFile, "--slo", "max<1s", "--slo", "rate==200")...)
	require.Equal(t, 0, o.code, o.stderr)
	require.Contains(t, o.stdout, "echo response    200 ")
	require.Contains(t, o.stdout, "objective   rate==200: kept, with 200\n")
	merged, err := result.ReadFile(jsonFile)
	require.NoError(t, err)
	require.True(t, whole.Equals(merged.Operations["echo"].Response.Histogram))
	file, err := os.Open(logFile)
	require.NoError(t, err)
	defer file.Close()
	log, err := result.NewLogReader(file)
	require.NoError(t, err)
	entry, err := log.Next()
	require.NoError(t, err)
	require.True(t, whole.Equals(entry.Histogram.Histogram))

	o = merge(t, first[0], second[0], "--slo", "max<1s", "--slo", "echo.p50<1ms")
	require.Equal(t, 99, o.code)
	require.Equal(t, "strand: merge: objectives that were not kept: echo.p50<1ms (it was 67.01)\n", o.stderr)
	require.Contains(t, o.stdout, "objective   max<1s: kept")

	one.Invalid = []string{"the generator was at its limit"}
	require.NoError(t, one.WriteFile(first[0]))
	o = merge(t, first[0], second[0], "--slo", "echo.p50<1ms")
	require.Equal(t, 2, o.code)
	require.Equal(t, "strand: merge: the figures must not be believed: shard 1: the generator was at its limit\n", o.stderr)
}

func TestMergeRefuses(t *testing.T) {
	dir := t.TempDir()
	one, first := shard(t, dir, 1, 2)
	_, second := shard(t, dir, 2, 2)
	out := filepath.Join(dir, "out.hlog")
	requireUsage(t, merge(t), "expected", "<file>")
	requireUsage(t, merge(t, first[1]), "no result is named, only logs")
	requireUsage(t, merge(t, first...), "1.hlog is a log, and there is no --hlog")
	requireUsage(t, merge(t, first[0], second[0], second[1], "--hlog", out), "there are 2 results and 1 logs")
	requireUsage(t, merge(t, first[0], "--slo", "p99<5"), `objective "p99<5": at 6: a unit is missing`)
	requireUsage(t, merge(t, first[0], "--json", dir), dir+" is a directory")

	for want, args := range map[string][]string{
		"missing.json: no such file or directory": {filepath.Join(dir, "missing.json")},
		"1.hlog: no such file or directory":       {first[0], second[0], filepath.Join(dir, "x", "1.hlog"), second[1], "--hlog", out},
		"of 2 shards these are missing: 2":        {first[0]},
	} {
		o := merge(t, args...)
		require.Equal(t, 1, o.code, want)
		require.Contains(t, o.stderr, want)
		require.Empty(t, o.stdout)
	}
	one.ID = "run-2"
	require.NoError(t, one.WriteFile(first[0]))
	o := merge(t, first[0], second[0])
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, `shard 2 does not go with shard 1: run ID "run-1" is not "run-2"`)
	require.NoFileExists(t, out)
}
