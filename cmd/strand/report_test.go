//go:build unix

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench"
	"github.com/strand-net/strand/bench/result"
)

// resultFile writes a run of so many operations, and returns its path.
func resultFile(t *testing.T, dir, server string, operations int64) string {
	t.Helper()
	run := &result.Run{
		SchemaVersion: result.SchemaVersion, Name: "echo", Server: &result.Server{Name: server}, Begin: time.Unix(1e9, 0),
		Windows: []result.Window{{Seconds: 1, Operations: operations, Messages: operations}},
	}
	path := filepath.Join(dir, server+".json")
	require.NoError(t, run.WriteFile(path))
	return path
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	page, chart := filepath.Join(dir, "report.html"), filepath.Join(dir, "report.svg")
	o := run(t, exec.Command(strand, "report", resultFile(t, dir, "net", 1000), resultFile(t, dir, "loop", 1500), "-o", page, "--svg", chart, "--title", "Net & loop"))
	require.Equal(t, outcome{}, o)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(text), "<title>Net &amp; loop</title>")
	require.Contains(t, string(text), "×1.50 better")
	text, err = os.ReadFile(chart)
	require.NoError(t, err)
	require.Contains(t, string(text), "echo, loop: Messages a second 1.50")
}

func TestReportOfAComparison(t *testing.T) {
	dir := t.TempDir()
	comparison, chart := filepath.Join(dir, "comparison.json"), filepath.Join(dir, "chart.svg")
	require.NoError(t, (&bench.Report{SchemaVersion: 1, Base: "net", Rounds: 2, Scenarios: []bench.ScenarioReport{{
		Scenario: bench.Scenario{Name: "echo", Conns: 1, Size: 64},
		Engines: []bench.EngineReport{
			{Engine: "net", Rounds: []bench.Measurement{{MessagesPerS: 10}, {MessagesPerS: 20}}}, {Engine: "loop", Rounds: []bench.Measurement{{MessagesPerS: 20}, {MessagesPerS: 60}}},
		},
	}}}).WriteFile(comparison))
	require.Equal(t, outcome{}, run(t, exec.Command(strand, "report", comparison, "--svg", chart)))
	text, err := os.ReadFile(chart)
	require.NoError(t, err)
	require.Contains(t, string(text), "Engines compared with net")
	require.Contains(t, string(text), "echo, 1 connection, 64 B, loop: Messages a second 2.50")

	document := filepath.Join(dir, "document.md")
	requireUsage(t, run(t, exec.Command(strand, "report", comparison, "--table", document)), "report: table: ", "no such file")
	require.NoError(t, os.WriteFile(document, []byte("nothing\n"), 0o644))
	requireUsage(t, run(t, exec.Command(strand, "report", comparison, "--table", document)), "report: table: ", document, "no place for a table")
	require.NoError(t, os.WriteFile(document, []byte("before\n<!-- table of strand bench -->\n<!-- end of the table -->\nafter\n"), 0o644))
	require.Equal(t, outcome{}, run(t, exec.Command(strand, "report", comparison, "--table", document)))
	text, err = os.ReadFile(document)
	require.NoError(t, err)
	require.Contains(t, string(text), "before\n<!-- table of strand bench -->\n```\n2 rounds of ")
	require.Contains(t, string(text), "```\n<!-- end of the table -->\nafter\n")
	requireUsage(t, run(t, exec.Command(strand, "report", comparison, "-o", filepath.Join(dir, "x.html"))), "report: output: ", "is a comparison, which makes no page: give --svg or --table")
}

func TestReportThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	good, page := resultFile(t, dir, "net", 1000), filepath.Join(dir, "report.html")
	cut := filepath.Join(dir, "cut.json")
	require.NoError(t, os.WriteFile(cut, []byte(`{"schema_version": 2,`), 0o644))
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{good}, []string{"report: there is nothing to write: give --output, --svg or --table"}},
		{[]string{"-o", page}, []string{"<file>"}},
		{[]string{good, "-o", good}, []string{"report: output: ", "looks like a result"}},
		{[]string{good, "--table", page}, []string{"report: table: ", good, "is not what strand bench --json has written"}},
		{[]string{good, "-o", dir}, []string{"report: output: ", "is a directory"}},
		{[]string{good, "--svg", filepath.Join(dir, "no", "where.svg")}, []string{"report: svg: ", "no such file"}},
		{[]string{filepath.Join(dir, "none.json"), "-o", page}, []string{"report: ", "none.json", "no such file"}},
		{[]string{good, cut, "-o", page}, []string{"report: ", cut, "cut short"}},
	} {
		requireUsage(t, run(t, exec.Command(strand, append([]string{"report"}, c.args...)...)), c.words...)
		require.NoFileExists(t, page)
	}
	before, err := result.ReadFile(good)
	require.NoError(t, err)
	require.Equal(t, int64(1000), before.Windows[0].Operations)
}
