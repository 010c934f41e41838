package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/report"
)

func TestBarsAreTheRatiosOfTheTable(t *testing.T) {
	r := testReport()
	b, err := r.Bars("A title")
	require.NoError(t, err)
	require.Equal(t, "net", b.Base)
	require.Len(t, b.Blocks, 2)
	require.Equal(t, "echo, 1 connection, 64 B", b.Blocks[0].Title)
	half := report.Ratio{Median: 0.5, Low: 0.5, High: 0.5}
	other := b.Blocks[1].Rows[1]
	require.Equal(t, "other", other.Name)
	require.Equal(t, report.Ratio{Median: 2, Low: 2, High: 2}, other.Ratios[0])
	require.Equal(t, half, other.Ratios[1])
	require.InDelta(t, 0.39, other.Ratios[3].Median, 0.01)
	require.Equal(t, report.Ratio{}, b.Blocks[0].Rows[1].Ratios[3], "memory of one connection says nothing")

	r.Base = "third"
	_, err = r.Bars("A title")
	require.EqualError(t, err, `echo, 1 connection, 64 B: nothing was measured of "third", the base of the ratios`)
}

func TestBarsHaveTheRangeOfTheRounds(t *testing.T) {
	s := &ScenarioReport{Scenario: Scenario{Conns: 100}}
	ratio := s.ratio("resident_kib_per_conn", rates(1, 4, 6, -3, 5), rates(2, 2, 2, 2, 0))
	require.Equal(t, report.Ratio{Median: 2, Low: 0.5, High: 3}, ratio)
	require.Equal(t, report.Ratio{}, s.ratio("latency_p99_us", nil, rates(1)))
}

func TestReportsAreReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "comparison.json")
	want := testReport()
	require.NoError(t, want.WriteFile(path))
	got, err := ReadReport(path)
	require.NoError(t, err)
	require.Equal(t, want, got)

	for text, problem := range map[string]string{`{"schema_version":2}`: "schema version 2", `{`: "unexpected end", "": "unexpected end"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		_, err := ReadReport(path)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, problem)
	}
	_, err = ReadReport(path + ".nowhere")
	require.ErrorIs(t, err, os.ErrNotExist)
}
