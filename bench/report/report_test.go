package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/report/internal/made"
	"github.com/strand-net/strand/bench/result"
)

func run(server string, seconds int, factor float64) *result.Run {
	return made.Run{Name: "echo, 1,000 connections, 64 B", Server: server, Seconds: seconds, Factor: factor}.Result()
}

func write(t *testing.T, runs ...*result.Run) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, Write(&out, "A title", runs))
	return out.String()
}

// dataOf is the runs that a page carries.
func dataOf(t *testing.T, page string) []string {
	t.Helper()
	var all []string
	for _, found := range regexp.MustCompile(`(?s)<script type="text/gzip-base64" id="run-\d+">(.*?)</script>`).FindAllStringSubmatch(page, -1) {
		reader, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(found[1])))
		require.NoError(t, err)
		text, err := io.ReadAll(reader)
		require.NoError(t, err)
		all = append(all, string(text))
	}
	return all
}

func TestPageCarriesItsData(t *testing.T) {
	runs := []*result.Run{run("net", 60, 1), run("loop", 30, 0.5)}
	runs[0].Intervals[3].Latency, runs[0].Windows[1].Latency = "what only shards need", "the same"
	data := dataOf(t, write(t, runs...))
	require.Equal(t, "what only shards need", runs[0].Intervals[3].Latency, "the run itself was changed")
	runs[0].Intervals[3].Latency, runs[0].Windows[1].Latency = "", ""
	require.Len(t, data, 2)
	for i := range runs {
		want, err := json.Marshal(runs[i])
		require.NoError(t, err)
		require.JSONEq(t, string(want), data[i])
	}
}

func TestPageIsSmall(t *testing.T) {
	page := write(t, run("coserver", 600, 1))
	require.Less(t, len(page), 1<<20, "ten minutes")
	t.Log("a page of ten minutes has", len(page)>>10, "KiB")

	// Without its data a page does not grow with the run.
	page = write(t, run("coserver", 100_000, 1))
	page = regexp.MustCompile(`(?s)<script type="text/gzip-base64".*?</script>`).ReplaceAllString(page, "")
	require.Less(t, len(page), 1<<20, "a day")
}

// No address in the page is one that a browser would go to.
func TestPageAsksForNothing(t *testing.T) {
	page := write(t, run("net", 10, 1))
	require.Empty(t, regexp.MustCompile(`(?i)(src|href|action)\s*=\s*["']?(https?:)?//.{0,50}`).FindAllString(page, -1))
	require.Empty(t, regexp.MustCompile(`(?i)@import.{0,50}|[:\s]url\(.{0,50}`).FindAllString(page, -1))
	requireContains(t, page, `default-src &#39;none&#39;`, "Permission is hereby granted") // which is the licence of uPlot
}

func TestWhatCannotBeShownIsAnError(t *testing.T) {
	other := &result.Histogram{Histogram: hdrhistogram.New(1, 1000, 2)}
	require.NoError(t, other.RecordValue(10))
	for name, c := range map[string]struct {
		runs []*result.Run
		want string
	}{
		"none":      {nil, "report: there is no run"},
		"nil":       {[]*result.Run{run("net", 1, 1), nil}, "report: run 2 is missing"},
		"NaN":       {change(func(r *result.Run) { r.Intervals[3].Rate = math.NaN() }), `report: run 1 ("echo, 1,000 connections, 64 B"): intervals[3].per_s is NaN`},
		"infinity":  {change(func(r *result.Run) { r.Server.Idle.CPUUser = math.Inf(1) }), `server.idle.cpu_user is +Inf`},
		"in a map":  {change(func(r *result.Run) { r.SLO[1].Value = math.Inf(-1) }), `slo[1].value is -Inf`},
		"config":    {change(func(r *result.Run) { r.Config = json.RawMessage(`{"a":`) }), "config is not JSON"},
		"histogram": {change(func(r *result.Run) { r.Operations["echo"].Lag = other }), `report: run "echo, 1,000 connections, 64 B": operation "echo": histogram of 1 ns`},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.ErrorContains(t, Write(&out, "A title", c.runs), c.want)
			require.Empty(t, out.String())
		})
	}
	full := errors.New("full")
	require.ErrorIs(t, Write(failing{full}, "A title", []*result.Run{run("net", 1, 1)}), full)
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func change(how func(*result.Run)) []*result.Run {
	r := run("net", 3, 1)
	how(r)
	return []*result.Run{r}
}

// What is missing in a run is missing in the page, and nothing else is.
func TestIncompleteRuns(t *testing.T) {
	for name, how := range map[string]func(*result.Run){
		"all":             func(r *result.Run) { *r = result.Run{} },
		"histograms":      func(r *result.Run) { r.Operations["echo"] = &result.Operation{Count: 3}; r.Connect.Latency = nil },
		"no values":       func(r *result.Run) { r.Operations["echo"].Response = &result.Histogram{} },
		"operation":       func(r *result.Run) { r.Operations["echo"] = nil },
		"server":          func(r *result.Run) { r.Server = nil; r.Intervals[1].Server = nil },
		"runtime":         func(r *result.Run) { r.Server.End.Runtime = nil; r.Intervals[1].Server.Runtime = nil },
		"intervals":       func(r *result.Run) { r.Intervals = nil },
		"windows":         func(r *result.Run) { r.Windows = nil },
		"time of windows": func(r *result.Run) { r.Windows[0].Seconds = 0; r.Connect.Seconds = 0 },
		"order":           func(r *result.Run) { r.Intervals[0], r.Intervals[2] = r.Intervals[2], r.Intervals[0] },
		"twice":           func(r *result.Run) { r.Intervals = append(r.Intervals, r.Intervals...) },
		"huge": func(r *result.Run) {
			r.Intervals[1].Rate = 1e308
			r.Intervals[2].Rate = -1e308
			r.Windows[0].Seconds = 5e-324
		},
		"null config": func(r *result.Run) { r.Config = json.RawMessage("null") },
	} {
		t.Run(name, func(t *testing.T) {
			runs := change(how)
			for _, page := range []string{write(t, runs...), write(t, runs[0], run("loop", 3, 1)), write(t, run("loop", 3, 1), runs[0])} {
				for _, wrong := range []string{"NaN", "Inf", "ZgotmplZ", "%!"} {
					require.False(t, strings.Contains(shown(page), wrong), "%s is in the page", wrong)
				}
				var drawings []map[string]any
				require.NoError(t, json.Unmarshal([]byte(between(page, `id="drawings">`, "</script>")), &drawings))
			}
		})
	}
}

func TestHead(t *testing.T) {
	r := run("loop", 10, 1)
	r.Invalid = []string{"the generator was the limit"}
	r.SLO[1].OK, r.SLO[1].Reason = false, "the loop was closed"
	r.Machines = []result.Machine{{CPU: "a first CPU"}, {CPU: "a second CPU"}}
	r.Errors = map[string]int64{"connection reset": 1200, "timeout": 34}
	r.Check.Lost = 7
	r.Shard = result.Shard{Index: 2, Of: 3}
	r.Operations["echo"].Censored = 5
	page := write(t, r)
	requireContains(t, page,
		"Invalid: these figures must not be believed", "the generator was the limit", "1 of 2 objectives met", "1,234 errors in ", "7 payloads were lost",
		"shard 2 of 3 alone", "5 never answered", "✗ missed", "✓ met", "not known: the loop was closed", "a first CPU / a second CPU", "p99&lt;50ms", "99.8\u00a0% of the 50,000/s that were planned",
	)
	r.Check.Datagrams, r.Check.Late = true, 3
	requireContains(t, write(t, r), "1,500,000 payloads checked, all right, and 7 lost", "7, of which 3 came late")
	page = write(t, run("loop", 10, 1))
	require.False(t, strings.Contains(shown(page), "Invalid:"))
	requireContains(t, page, "1,500,000 payloads checked, all right", "no errors")
}

func TestAssets(t *testing.T) {
	table, err := os.ReadFile("assets/README.md")
	require.NoError(t, err)
	version := regexp.MustCompile(`uPlot \(v([\d.]+)\)`).FindStringSubmatch(string(newAssets().Scripts[0]))[1]
	require.Contains(t, string(table), "| "+version+" | MIT")
	for _, script := range append(newAssets().Scripts, newAssets().Early) {
		require.NotContains(t, strings.ToLower(string(script)), "</script", "it would end itself")
		require.NotContains(t, string(script), "\r", "a browser hashes it without")
	}
}

// plain is a text with ordinary spaces.
func plain(text string) string { return strings.ReplaceAll(text, noBreak, " ") }

// shown is a page without its scripts and styles.
func shown(page string) string {
	return regexp.MustCompile(`(?s)<(script|style).*?</(script|style)>`).ReplaceAllString(page, "")
}

func between(text, before, after string) string {
	_, text, _ = strings.Cut(text, before)
	text, _, _ = strings.Cut(text, after)
	return text
}

// requireContains does not print the page.
func requireContains(t *testing.T, page string, words ...string) {
	t.Helper()
	for _, word := range words {
		require.True(t, strings.Contains(page, word), "%q is missing", word)
	}
}

// A run that is not whole says so, and one whose server was not watched says why.
func TestRunsThatAreNotWhole(t *testing.T) {
	page := write(t, change(func(r *result.Run) {
		r.Interrupted, r.Shard = true, result.Shard{Index: 1, Of: 2}
		r.Server, r.Unwatched = nil, "several processes"
	})...)
	requireContains(t, page, "It was interrupted: these are the figures until then.", "This is shard 1 of 2 alone, not the whole run.", "no: several processes")
	page = write(t, run("net", 3, 1))
	require.NotContains(t, page, "It was interrupted")
}
