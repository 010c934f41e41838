package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// fewConns: below it, resident memory says more of the process than of a connection.
const fewConns = 100

// WriteTable writes one table for each scenario: medians, and in brackets the ratio to the base engine.
func (r *Report) WriteTable(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s of %.3g s, medians; in brackets the ratio to %s (median of the rounds' ratios)\n",
		plural(r.Rounds, "round"), r.Seconds, r.Base)
	fmt.Fprintf(&out, "%s, %s, %s %s, %s\n", r.Machine.CPU, plural(r.Machine.Cores, "core"), r.Machine.OS, r.Machine.Kernel, r.Machine.Go)
	for i := range r.Scenarios {
		out.WriteByte('\n')
		r.Scenarios[i].table(&out)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (s *ScenarioReport) table(out *strings.Builder) {
	fmt.Fprintln(out, s.Scenario)
	rows := [][]string{{"engine"}}
	for _, m := range metrics {
		rows[0] = append(rows[0], m.title)
	}
	for _, engine := range s.Engines {
		row := []string{engine.Engine}
		for _, m := range metrics {
			if m.name == "resident_kib_per_conn" && s.Conns < fewConns {
				row = append(row, "-")
				continue
			}
			stat := engine.Summary[m.name]
			cell := significant(stat.Median, m.digits)
			if stat.Ratio != 0 {
				cell += fmt.Sprintf(" (%.2f)", stat.Ratio)
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	writeColumns(out, rows)
}

// writeColumns aligns the first column to the left and all others to the right.
func writeColumns(out *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		out.WriteString(row[0])
		pad := widths[0] - utf8.RuneCountInString(row[0])
		for i, cell := range row[1:] {
			pad += 2 + widths[i+1] - utf8.RuneCountInString(cell)
			out.WriteString(strings.Repeat(" ", pad))
			out.WriteString(cell)
			pad = 0
		}
		out.WriteByte('\n')
	}
}

// significant writes v with that many significant digits and no exponent.
func significant(v float64, digits int) string {
	if v == 0 {
		return "0"
	}
	places := digits - 1 - int(math.Floor(math.Log10(math.Abs(v))))
	if places < 0 {
		unit := math.Pow10(-places)
		return strconv.FormatFloat(math.Round(v/unit)*unit, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', places, 64)
}
