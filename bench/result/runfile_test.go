package result

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testRun is shard index of of, with something in every field.
func testRun(t testing.TB, index, of int) *Run {
	random := seeded(uint64(index))
	config, err := json.Marshal(map[string]any{"conns": 100, "match": "<&>"})
	require.NoError(t, err)
	hash, err := HashConfig(config)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(config)), hash)
	sample := func(at float64, cpu float64, rss int64) Sample {
		return Sample{At: at, CPUUser: cpu, CPUSystem: 2 * cpu, RSS: rss, Threads: 4, Descriptors: 100, Runtime: &Runtime{Heap: rss / 2, Goroutines: 7}}
	}
	interval := sample(0.5, 1.5, 3<<20)
	latency, err := latencies(random, 1000).Compress()
	require.NoError(t, err)
	return &Run{
		SchemaVersion: SchemaVersion,
		ID:            "run-1",
		Name:          "echo, 100 connections, 64 B",
		Begin:         time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(time.Duration(index) * time.Millisecond),
		Config:        config,
		ConfigHash:    hash,
		Shard:         Shard{index, of},
		Tags:          map[string]string{"engine": "net"},
		Machine:       Machine{OS: "linux", Kernel: "6.1", CPU: "Some CPU", Cores: 2, Go: "go1.26", Version: "v1.0.0", Revision: "abc", Network: "loopback"},
		Target:        1000,
		Connect:       Connect{Wanted: 100, Made: 99, Failed: 1, Seconds: 0.25, Latency: latencies(random, 99)},
		Windows: []Window{
			{Begin: 0, Seconds: 1, Operations: 1000, Messages: 2000, BytesOut: 3000, BytesIn: 4000, Errors: 1, CPUUser: 0.01, CPUSystem: 0.02},
			{Begin: 1, Seconds: 1, Operations: 900, Messages: 1800, BytesOut: 2700, BytesIn: 3600, Errors: 2, CPUUser: 0.03, CPUSystem: 0.04},
		},
		Intervals: []Interval{
			{Begin: -1, Seconds: 1, Target: 1000, Rate: 500, P50: 1, Conns: 99},
			{Begin: 0, Seconds: 1, Target: 1000, Rate: 1000, Errors: 1, P50: 1, P90: 2, P99: 3, P999: 4, Max: 5, Conns: 99, InFlight: 3, Server: &interval, Latency: latency},
		},
		Operations: map[string]*Operation{
			"echo": {Count: 1900, Censored: 2, Response: latencies(random, 1900), Service: latencies(random, 1900), Lag: latencies(random, 1900)},
		},
		Check:  Check{Checked: 1900, Lost: 1, Reordered: 2, Duplicated: 3, Corrupt: 4},
		Errors: map[string]int64{"connection reset": 3},
		Server: &Server{Name: "net", PID: 4711, Before: sample(-3, 0.5, 1<<20), Idle: sample(-2, 0.75, 2<<20),
			Begin: sample(0, 1, 2<<20), End: sample(2, 2, 4<<20), MaxRSS: 5 << 20},
		Generator: Generator{CPUUser: 1, CPUSystem: 2, Threads: 2, Busiest: 0.5, MaxRSS: 10 << 20},
		SLO:       []Objective{{Expression: "lost==0", Value: 1}},
	}
}

func TestRunFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	run := testRun(t, 1, 3)
	require.NoError(t, run.WriteFile(path))
	back, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, run, back)

	run.Config = json.RawMessage("{\n \"conns\": 100, \"match\": \"<&>\"}")
	require.NoError(t, run.WriteFile(path), "space and escapes are not part of what is hashed")
	again, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, back, again)
}

func TestRunFileWithoutHistograms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	run := &Run{SchemaVersion: SchemaVersion, Shard: Shard{1, 1}, Operations: map[string]*Operation{"echo": {}}}
	require.NoError(t, run.WriteFile(path))
	back, err := ReadFile(path)
	require.NoError(t, err)
	for _, h := range []*Histogram{back.Connect.Latency, back.Operations["echo"].Response, back.Operations["echo"].Service, back.Operations["echo"].Lag} {
		requireSame(t, NewHistogram(), h)
	}
}

func TestRunFileRefusesWhatIsNone(t *testing.T) {
	good, err := json.MarshalIndent(testRun(t, 1, 1), "", "  ")
	require.NoError(t, err)
	replace := func(old, new string) string {
		require.Contains(t, string(good), old)
		return strings.Replace(string(good), old, new, 1)
	}
	tooMany := `{"schema_version":2,"operations":{"a":{}` + func() (all string) {
		for i := range maxOperations {
			all += `,"` + strings.Repeat("x", i+1) + `":{}`
		}
		return all
	}() + `}}`
	for want, text := range map[string]string{
		"it is cut short, after 0 bytes":                          "",
		"it is cut short, after 1000 bytes":                       string(good[:1000]),
		"it goes on after its end":                                string(good) + "\n{}",
		"it has no schema_version: it is no result of a load run": `{"version":2}`,
		"schema version 1, and only 2 can be read":                `{"schema_version":1,"operations":[]}`,
		"schema version 3, and only 2 can be read":                replace(`"schema_version": 2`, `"schema_version": 3`),
		"cannot unmarshal number into Go struct field Run.id":     `{"schema_version":2,"id":7}`,
		"invalid character 'x'":                                   `{x`,
		"does not belong to config, whose hash is":                replace(`"conns": 100`, `"conns": 101`),
		"shard 2 of 1 does not exist":                             replace(`"index": 1`, `"index": 2`),
		"shard 0 of 1 does not exist":                             replace(`"index": 1`, `"index": 0`),
		"histogram: it has no hdr":                                replace(`"hdr"`, `"HDR-"`),
		`operations: "echo" is null`:                              `{"schema_version":2,"operations":{"echo":null}}`,
		"257 operations are more than 256":                        tooMany,
	} {
		t.Run(want, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run.json")
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			run, err := ReadFile(path)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, path+": ")
			require.Nil(t, run)
		})
	}
	_, err = ReadFile(filepath.Join(t.TempDir(), "missing.json"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFilesAreWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "result.json")
	requireOnly := func(names ...string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		var there []string
		for _, e := range entries {
			there = append(there, e.Name())
		}
		require.Equal(t, names, there)
	}
	require.NoError(t, CheckFile(path))
	requireOnly()
	require.NoError(t, WriteJSON(path, 1))
	requireOnly("result.json")

	require.Error(t, WriteJSON(path, func() {}), "JSON has no functions")
	requireOnly("result.json")
	file, err := Create(path)
	require.NoError(t, err)
	_, err = file.WriteString("2\n")
	require.NoError(t, err)
	file.Abort()
	requireOnly("result.json")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "1\n", string(text))

	file, err = Create(path)
	require.NoError(t, err)
	_, err = file.WriteString("3\n")
	require.NoError(t, err)
	require.NoError(t, file.Commit())
	file.Abort()
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "3\n", string(text))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode())

	missing := filepath.Join(dir, "missing", "result.json")
	require.ErrorIs(t, CheckFile(missing), os.ErrNotExist)
	require.ErrorIs(t, WriteJSON(missing, 1), os.ErrNotExist)
	require.ErrorContains(t, CheckFile(dir), "is a directory")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "taken"), 0o700))
	require.Error(t, WriteJSON(filepath.Join(dir, "taken"), 1))
	requireOnly("result.json", "taken")
}
