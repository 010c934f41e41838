package ab

import (
	"math"
	"slices"
	"sort"

	"golang.org/x/perf/benchmath"

	"github.com/strand-net/strand/bench/result"
)

// schemaVersion changes when a reader of the JSON would have to.
const schemaVersion = 1

// Report is the outcome of a comparison.
type Report struct {
	SchemaVersion int      `json:"schema_version"`
	A             string   `json:"a"`
	B             string   `json:"b"`
	Runs          int      `json:"runs"` // of each side
	Confidence    float64  `json:"confidence"`
	Seed          uint64   `json:"seed"`
	Metrics       []Metric `json:"metrics"` // those that all runs have
}

// Verdict is what may be claimed of B beside A.
type Verdict string

const (
	Better    Verdict = "better"
	Worse     Verdict = "worse"
	Undecided Verdict = "no difference found"
)

// Metric is one figure of both sides.
type Metric struct {
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	Higher bool   `json:"higher_is_better"`
	A      Median `json:"a"`
	B      Median `json:"b"`

	// Ratio is how many times A's figure B's is: the median of the ratios of all pairs (Hodges and Lehmann), with its confidence
	// interval.
	Ratio  float64 `json:"ratio"`
	Lowest float64 `json:"ratio_lowest"`
	Most   float64 `json:"ratio_highest"`

	// P is how probable a difference as large as this would be by chance (Mann-Whitney U test).
	P float64 `json:"p"`
	// Adjusted is P for a claim about any of the metrics: with several, chance has several tries (Holm's method).
	Adjusted float64 `json:"p_adjusted"`
	Verdict  Verdict `json:"verdict"`
}

// Median is that of one side's runs, with its confidence interval.
type Median struct {
	Values  []float64 `json:"values"` // in the order of the runs
	Center  float64   `json:"median"`
	Lowest  float64   `json:"lowest"`
	Highest float64   `json:"highest"`
}

func newReport(o *Options, a, b []*result.Run) *Report {
	r := &Report{SchemaVersion: schemaVersion, A: o.A.Name, B: o.B.Name, Runs: o.Runs, Confidence: o.Confidence, Seed: o.Seed}
	for _, m := range metrics {
		valuesA, knownA := values(m, a)
		valuesB, knownB := values(m, b)
		if knownA && knownB {
			r.Metrics = append(r.Metrics, compare(m, valuesA, valuesB, o.Confidence))
		}
	}
	r.judge()
	return r
}

func values(m metric, runs []*result.Run) ([]float64, bool) {
	var all []float64
	for _, run := range runs {
		value, known := m.value(run)
		if !known || value <= 0 {
			return nil, false
		}
		all = append(all, value)
	}
	return all, true
}

func compare(m metric, a, b []float64, confidence float64) Metric {
	thresholds := benchmath.Thresholds{CompareAlpha: 1 - confidence}
	// A Sample sorts what it is given.
	sampleA, sampleB := benchmath.NewSample(slices.Clone(a), &thresholds), benchmath.NewSample(slices.Clone(b), &thresholds)
	c := Metric{Name: m.name, Unit: m.unit, Higher: m.higher, P: benchmath.AssumeNothing.Compare(sampleA, sampleB).P}
	for _, side := range []struct {
		median *Median
		sample *benchmath.Sample
		values []float64
	}{{&c.A, sampleA, a}, {&c.B, sampleB, b}} {
		s := benchmath.AssumeNothing.Summary(side.sample, confidence)
		*side.median = Median{Values: side.values, Center: s.Center, Lowest: s.Lo, Highest: s.Hi}
	}
	c.Ratio, c.Lowest, c.Most = ratio(a, b, confidence)
	if math.IsNaN(c.P) { // all values are equal
		c.P = 1
	}
	return c
}

// ratio returns the median of all b/a, and the interval that belongs to the Mann-Whitney test: its ends are those of the sorted ratios that as many
// pairs lie outside of as the test's normal approximation allows.
func ratio(a, b []float64, confidence float64) (center, lowest, highest float64) {
	var all []float64
	for _, x := range a {
		for _, y := range b {
			all = append(all, y/x)
		}
	}
	sort.Float64s(all)
	n, m := float64(len(a)), float64(len(b))
	z := math.Sqrt2 * math.Erfinv(confidence)
	outside := int(math.Floor(n*m/2 - z*math.Sqrt(n*m*(n+m+1)/12)))
	outside = max(0, min(outside, (len(all)-1)/2))
	middle := len(all) / 2
	center = all[middle]
	if len(all)%2 == 0 {
		center = (all[middle-1] + all[middle]) / 2
	}
	return center, all[outside], all[len(all)-1-outside]
}

// judge claims what may be claimed, so that a claim about any of the metrics of two sides that do not differ is as seldom as the confidence
// says.
func (r *Report) judge() {
	order := make([]int, len(r.Metrics))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch p, q := r.Metrics[i].P, r.Metrics[j].P; {
		case p < q:
			return -1
		case p > q:
			return 1
		}
		return 0
	})
	least := 0.0
	for tried, i := range order {
		m := &r.Metrics[i]
		least = max(least, min(1, m.P*float64(len(order)-tried)))
		m.Adjusted, m.Verdict = least, Undecided
		if m.Adjusted < 1-r.Confidence {
			m.Verdict = Worse
			if (m.Ratio > 1) == m.Higher {
				m.Verdict = Better
			}
		}
	}
}
