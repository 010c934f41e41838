package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/strand-net/strand/bench/report"
)

// ReadReport reads what WriteFile has written. It fails with the name of the file if that is no comparison, or one of another schema.
func ReadReport(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.SchemaVersion != schemaVersion {
		return nil, fmt.Errorf("%s: schema version %d, and only %d is a comparison that can be read", path, r.SchemaVersion, schemaVersion)
	}
	return r, nil
}

// barMetrics are those of a chart, by their names in a summary.
var barMetrics = []struct {
	name   string
	column report.Column
}{
	{"messages_per_s", report.Column{Title: "Messages a second", Better: 1}},
	{"server_cpu_us_per_message", report.Column{Title: "CPU a message", Better: -1}},
	{"latency_p99_us", report.Column{Title: "p99 latency", Better: -1}},
	{"resident_kib_per_conn", report.Column{Title: "Memory a connection", Better: -1}},
}

// Bars is the comparison as a chart of ratios to the base engine, for report.SVG.
func (r *Report) Bars(title string) (report.Bars, error) {
	b := report.Bars{Title: title, Base: r.Base, Note: report.Rounds(r.Rounds)}
	for _, m := range barMetrics {
		b.Columns = append(b.Columns, m.column)
	}
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		if !slices.ContainsFunc(s.Engines, func(e EngineReport) bool { return e.Engine == r.Base }) {
			return report.Bars{}, fmt.Errorf("%v: nothing was measured of %q, the base of the ratios", s.Scenario, r.Base)
		}
		base := s.engine(r.Base).Rounds
		block := report.Block{Title: fmt.Sprint(s.Scenario)}
		for _, engine := range s.Engines {
			row := report.Row{Name: engine.Engine}
			for _, m := range barMetrics {
				row.Ratios = append(row.Ratios, s.ratio(m.name, engine.Rounds, base))
			}
			block.Rows = append(block.Rows, row)
		}
		b.Blocks = append(b.Blocks, block)
	}
	return b, nil
}

// ratio is that of the rounds of an engine to those of the base. It is unknown where the table has none, too.
func (s *ScenarioReport) ratio(name string, rounds, base []Measurement) report.Ratio {
	if name == "resident_kib_per_conn" && s.Conns < fewConns {
		return report.Ratio{}
	}
	m := metrics[slices.IndexFunc(metrics, func(m metric) bool { return m.name == name })]
	var ratios []float64
	for i := range min(len(rounds), len(base)) {
		// Memory may have become less, or not have changed: that has no ratio.
		if value, other := m.value(&rounds[i]), m.value(&base[i]); value > 0 && other > 0 {
			ratios = append(ratios, value/other)
		}
	}
	if len(ratios) == 0 {
		return report.Ratio{}
	}
	return report.Ratio{Median: median(ratios), Low: slices.Min(ratios), High: slices.Max(ratios)}
}
