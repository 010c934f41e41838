package result

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// measure is one figure of a benchmark line.
type measure struct {
	unit   string
	better string // "higher" or "lower"
	of     func(r *Run, o *Operation) (float64, bool)
}

// measures stand in every line, as far as they are known.
var measures = []measure{
	{"ops/s", "higher", func(r *Run, o *Operation) (float64, bool) {
		rate, unknown := r.perSecond(o.Count)
		return rate, unknown == ""
	}},
	{"p50-ns", "lower", percentile(50)},
	{"p90-ns", "lower", percentile(90)},
	{"p99-ns", "lower", percentile(99)},
	{"p99.9-ns", "lower", percentile(99.9)},
	{"max-ns", "lower", percentile(100)},
	{"server-cpu-ns/msg", "lower", func(r *Run, _ *Operation) (float64, bool) {
		seconds, reason := r.cpuPerMessage()
		return seconds * 1e9, reason == ""
	}},
	{"server-B/conn", "lower", func(r *Run, _ *Operation) (float64, bool) {
		if r.Server == nil || r.Connect.Made == 0 {
			return 0, false
		}
		return float64(r.Server.Idle.RSS-r.Server.Before.RSS) / float64(r.Connect.Made), true
	}},
	{"errors", "lower", func(r *Run, _ *Operation) (float64, bool) { return float64(r.errors()), true }},
}

func percentile(q float64) func(*Run, *Operation) (float64, bool) {
	return func(_ *Run, o *Operation) (float64, bool) {
		if o.Response.empty() {
			return 0, false
		}
		return float64(o.Response.ValueAtQuantile(q)), true
	}
}

// WriteBenchmarks writes a line for each operation of each run in the format of Go benchmarks
// (https://go.dev/design/14313-benchmark-format), which benchstat reads: a run is a sample, and ten of them make a comparison. The name
// is that of the operation, with the tags of the run and the number of connections as its parts: BenchmarkEcho/engine=net/conns=100. A run
// that is invalid is refused.
func WriteBenchmarks(w io.Writer, runs ...*Run) error {
	var out strings.Builder
	for _, m := range measures {
		fmt.Fprintf(&out, "Unit %s better=%s\n", m.unit, m.better)
	}
	for _, r := range runs {
		if len(r.Invalid) > 0 {
			return fmt.Errorf("run %s is invalid: %s", r.ID, strings.Join(r.Invalid, "; "))
		}
		// These hold for all lines until they are set again.
		fmt.Fprintf(&out, "goos: %s\ngoarch: %s\ncpu: %s\n", r.Machine.OS, r.Machine.Arch, oneLine(r.Machine.CPU))
		for _, name := range r.operationNames() {
			o := r.Operations[name]
			fmt.Fprintf(&out, "%s %d", r.benchmarkName(name), o.Count)
			for _, m := range measures {
				if value, known := m.of(r, o); known {
					fmt.Fprintf(&out, " %s %s", decimal(value), m.unit)
				}
			}
			out.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// benchmarkName ends with the number of connections: a tag that ends in a dash and a number would be taken for GOMAXPROCS.
func (r *Run) benchmarkName(operation string) string {
	first, size := utf8.DecodeRuneInString(operation)
	name := "Benchmark" + string(unicode.ToUpper(first)) + namePart(operation[size:])
	for _, tag := range slices.Sorted(maps.Keys(r.Tags)) {
		name += "/" + namePart(tag) + "=" + namePart(r.Tags[tag])
	}
	return fmt.Sprintf("%s/conns=%d", name, r.Connect.Wanted)
}

// namePart replaces what would begin another part of a name, or another field.
func namePart(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) || c == '/' || c == '=' || !unicode.IsPrint(c) {
			return '_'
		}
		return c
	}, text)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// decimal writes v, to three places, without an exponent, which the format does not promise to read.
func decimal(v float64) string {
	text := fmt.Sprintf("%.3f", v)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
