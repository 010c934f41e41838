package bench

import (
	"slices"
	"time"

	"github.com/strand-net/strand/bench/result"
)

// schemaVersion changes when a reader of the JSON would have to.
const schemaVersion = 1

// Report is the outcome of a comparison, and the format of its JSON file.
type Report struct {
	SchemaVersion int              `json:"schema_version"`
	Date          time.Time        `json:"date"`
	Machine       result.Machine   `json:"machine"`
	Base          string           `json:"base"` // the engine of the ratios
	Rounds        int              `json:"rounds"`
	Seconds       float64          `json:"seconds_per_run"`
	Scenarios     []ScenarioReport `json:"scenarios"`
}

// ScenarioReport has the engines in the order in which they were asked for.
type ScenarioReport struct {
	Scenario
	Engines []EngineReport `json:"engines"`
}

// EngineReport is what one engine did in one scenario.
type EngineReport struct {
	Engine  string          `json:"engine"`
	Rounds  []Measurement   `json:"rounds"`
	Summary map[string]Stat `json:"summary"` // by metric
}

// Stat sums up the rounds of one metric.
type Stat struct {
	Median float64 `json:"median"`
	// Ratio is the median of the rounds' own ratios to the base engine, so that a change of the machine from round
	// to round does not enter it. It is 0 if no round has one.
	Ratio float64 `json:"ratio"`
}

func newReport(o *Options) *Report {
	r := &Report{
		SchemaVersion: schemaVersion,
		Date:          time.Now().UTC().Truncate(time.Second),
		Machine:       result.Describe(),
		Base:          o.base(),
		Rounds:        o.Rounds,
		Seconds:       o.Duration.Seconds(),
	}
	for _, s := range o.scenarios() {
		report := ScenarioReport{Scenario: s}
		for _, engine := range o.engines(s.Name) {
			report.Engines = append(report.Engines, EngineReport{Engine: engine})
		}
		r.Scenarios = append(r.Scenarios, report)
	}
	return r
}

func (s *ScenarioReport) engine(name string) *EngineReport {
	return &s.Engines[slices.IndexFunc(s.Engines, func(e EngineReport) bool { return e.Engine == name })]
}

func (s *ScenarioReport) add(engine string, m Measurement) {
	e := s.engine(engine)
	e.Rounds = append(e.Rounds, m)
}

func (r *Report) summarize() {
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		base := s.engine(r.Base).Rounds
		for e := range s.Engines {
			s.Engines[e].Summary = summary(s.Engines[e].Rounds, base)
		}
	}
}

func summary(rounds, base []Measurement) map[string]Stat {
	stats := make(map[string]Stat)
	for _, m := range metrics {
		var values, ratios []float64
		for i := range rounds {
			value, other := m.value(&rounds[i]), m.value(&base[i])
			values = append(values, value)
			if other != 0 {
				ratios = append(ratios, value/other)
			}
		}
		stats[m.name] = Stat{Median: median(values), Ratio: median(ratios)}
	}
	return stats
}

// median is 0 for no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// WriteFile writes r as JSON, whole or not at all.
func (r *Report) WriteFile(path string) error { return result.WriteJSON(path, r) }
