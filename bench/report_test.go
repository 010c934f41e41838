package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

func testOptions() Options {
	return Options{
		Engines: []string{"net", "other"}, Conns: []int{1, 100}, Sizes: []int{64}, Pipelines: []int{16}, Depths: []int{1},
		Duration: time.Second, Rounds: 3,
	}
}

// rates is one measurement for each figure, which stands for every metric.
func rates(figures ...float64) []Measurement {
	var all []Measurement
	for _, f := range figures {
		all = append(all, Measurement{MessagesPerS: f, CPUUS: f, P50US: f, P99US: f, P999US: f, KiB: f})
	}
	return all
}

func TestRatioIsTheMedianOfTheRoundsRatios(t *testing.T) {
	// The machine is three times as fast in the last round: the ratio of the medians would be 300/100.
	stat := summary(rates(200, 400, 300), rates(100, 100, 300))["messages_per_s"]
	require.Equal(t, Stat{Median: 300, Ratio: 2}, stat)

	stat = summary(rates(5, 6), rates(0, 3))["latency_p50_us"]
	require.Equal(t, Stat{Median: 5.5, Ratio: 2}, stat, "a round whose base is 0 has no ratio")

	require.Equal(t, Stat{Median: 5}, summary(rates(5), rates(0))["resident_kib_per_conn"])
}

func testReport() *Report {
	o := testOptions()
	o.Scenarios = []string{scenarioEcho}
	r := newReport(&o)
	r.Date = time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	r.Machine = result.Machine{OS: "linux", Kernel: "6.1", CPU: "Some CPU", Cores: 2, Go: "go1.26"}
	for i := range r.Scenarios {
		r.Scenarios[i].add("net", Measurement{MessagesPerS: 123456, CPUUS: 10, P50US: 0.5, P99US: 1234.5, KiB: 8})
		r.Scenarios[i].add("other", Measurement{MessagesPerS: 246912, CPUUS: 5, P50US: 0.25, P99US: 617.2, P999US: 7, KiB: 3.125})
	}
	r.Rounds = 1
	r.summarize()
	return r
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, testReport().WriteTable(&out))
	require.Equal(t, strings.TrimLeft(`
1 round of 1 s, medians; in brackets the ratio to net (median of the rounds' ratios)
Some CPU, 2 cores, linux 6.1, go1.26, 2026-11-30

engine     messages/s   CPU µs/msg        p50 µs       p99 µs  p99.9 µs     KiB/conn

echo, 1 connection, 64 B
net     123500 (1.00)  10.0 (1.00)  0.500 (1.00)  1230 (1.00)         0            -
other   246900 (2.00)  5.00 (0.50)  0.250 (0.50)   617 (0.50)      7.00            -

echo, 100 connections, 64 B
net     123500 (1.00)  10.0 (1.00)  0.500 (1.00)  1230 (1.00)         0  8.00 (1.00)
other   246900 (2.00)  5.00 (0.50)  0.250 (0.50)   617 (0.50)      7.00  3.12 (0.39)
`, "\n"), out.String())
}

func TestReportFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result.json")
	report := testReport()
	require.NoError(t, report.WriteFile(path))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var back Report
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, report, &back)
}

func TestMeasurementUnits(t *testing.T) {
	latency := result.NewHistogram()
	latency.Record(int64(3 * time.Millisecond))
	latency.Record(int64(2 * time.Hour))
	m := newMeasurement(Scenario{Name: "echo", Conns: 4}, &result.Run{
		Windows:    []result.Window{{Seconds: 2, Messages: 1000}},
		Intervals:  []result.Interval{{InFlight: 9}, {InFlight: 3}},
		Operations: map[string]*result.Operation{"echo": {Response: latency}},
		Connect:    result.Connect{Seconds: 0.001},
	}, &seen{
		before: 1 << 20, idle: 1<<20 + 8<<10, after: 1<<20 + 16<<10,
		cpuBegin: CPUTime{User: time.Second, System: 2 * time.Second},
		cpuEnd:   CPUTime{User: 1010 * time.Millisecond, System: 2020 * time.Millisecond},
	})
	require.InDelta(t, 3000, m.P50US, 3)
	require.InEpsilon(t, 3600e6, m.MaxUS, 0.01)
	m.P50US, m.P99US, m.P999US, m.MaxUS = 0, 0, 0, 0
	require.Equal(t, Measurement{
		Messages: 1000, Seconds: 2, MessagesPerS: 500, CPUUserUS: 10, CPUSystemUS: 20, CPUUS: 30,
		OverRange: 1, Batches: 2, Drained: 3, IdleKiB: 2, KiB: 4, ConnectsPerS: 4000,
	}, m)
}

func TestOptions(t *testing.T) {
	good := testOptions()
	require.NoError(t, good.Validate())
	for want, change := range map[string]func(*Options){
		"engines: none":                     func(o *Options) { o.Engines = nil },
		"engines: net is named twice":       func(o *Options) { o.Engines = []string{"net", "net"} },
		"conns: none":                       func(o *Options) { o.Conns = nil },
		"conns: 0 is less than 1":           func(o *Options) { o.Conns = []int{1, 0} },
		"rounds: 0 is less than 1":          func(o *Options) { o.Rounds = 0 },
		"size: 0 is less than 1":            func(o *Options) { o.Sizes = []int{0} },
		"size: none":                        func(o *Options) { o.Sizes = nil },
		"depth: 0 is less than 1":           func(o *Options) { o.Depths = []int{1, 0} },
		"depth: none":                       func(o *Options) { o.Depths = nil },
		"pipeline: none":                    func(o *Options) { o.Pipelines = nil },
		"size: a line of 4097 bytes":        func(o *Options) { o.Sizes = []int{4097} },
		"pipeline: 0 is less than 1":        func(o *Options) { o.Pipelines = []int{0} },
		"duration: 0s is not positive":      func(o *Options) { o.Duration = 0 },
		`scenario: unknown scenario "http"`: func(o *Options) { o.Scenarios = []string{"echo", "http"} },
		"scenario: echo is named twice":     func(o *Options) { o.Scenarios = []string{"echo", "echo"} },
		"scenario: engine net, which the others are compared with, has no protocol line": func(o *Options) {
			o.Speaks = func(engine, proto string) bool { return engine != "net" || proto != "line" }
		},
	} {
		t.Run(want, func(t *testing.T) {
			o := testOptions()
			change(&o)
			require.ErrorContains(t, o.Validate(), want)
		})
	}
	o := testOptions()
	o.Conns = []int{1 << 22} // more descriptors than a process has anywhere
	require.ErrorContains(t, o.Validate(), "file descriptors")
}

func TestScenarios(t *testing.T) {
	o := testOptions()
	require.Equal(t, []Scenario{{"echo", 1, 64, 1, 1}, {"echo", 100, 64, 1, 1}, {"line", 100, 64, 16, 1}}, o.scenarios())
	o.Conns, o.Scenarios = []int{7}, []string{scenarioLine}
	require.Equal(t, []Scenario{{"line", 7, 64, 16, 1}}, o.scenarios())
	require.Equal(t, "line, 7 connections, 64 B, 16 messages a batch", o.scenarios()[0].String())
	o.Scenarios = []string{scenarioLength}
	require.Equal(t, []Scenario{{"length", 7, 64, 16, 1}}, o.scenarios())
	o.Scenarios, o.Sizes, o.Depths = []string{"sink"}, []int{10, 20}, []int{1, 8}
	require.Equal(t, []Scenario{{"sink", 7, 10, 1, 1}, {"sink", 7, 10, 1, 8}, {"sink", 7, 20, 1, 1}, {"sink", 7, 20, 1, 8}}, o.scenarios())
	require.Equal(t, "sink, 7 connections, 10 B, 8 in flight", o.scenarios()[1].String())
	o.Scenarios, o.Sizes, o.Depths = []string{"churn", "echo"}, []int{10}, []int{1}
	require.Equal(t, []Scenario{{"churn", 7, 10, 1, 1}, {"echo", 7, 10, 1, 1}}, o.scenarios())
}

func TestProgressIsSparse(t *testing.T) {
	var out bytes.Buffer
	p := Progress{Out: &out}
	for n := range 10 {
		p.Show(Step{Number: n + 1, Of: 10, Engine: "net", Left: 9 * time.Second, Scenario: Scenario{"echo", 1, 64, 1, 1}})
	}
	p.Done()
	require.Equal(t, "run 1 of 10, about 9s left: net, echo, 1 connection, 64 B\n", out.String())

	out.Reset()
	p = Progress{Out: &out, Terminal: true}
	p.Show(Step{Number: 1, Of: 2})
	p.Done()
	require.NotContains(t, out.String(), "\n")
	require.True(t, strings.HasSuffix(out.String(), "\r\x1b[K"))
}
