package bench

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// fewConns: below it, resident memory says more of the process than of a connection.
const fewConns = 100

// WriteTable writes one table, with a part for each scenario: medians, and in brackets the ratio to the base engine.
func (r *Report) WriteTable(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s of %.3g s, medians; in brackets the ratio to %s (median of the rounds' ratios)\n",
		plural(r.Rounds, "round"), r.Seconds, r.Base)
	fmt.Fprintf(&out, "%s, %s, %s %s, %s, %s\n\n", r.Machine.CPU, plural(r.Machine.Cores, "core"), r.Machine.OS, r.Machine.Kernel, r.Machine.Go, r.Date.Format(time.DateOnly))
	header := []string{"engine"}
	for _, m := range metrics {
		header = append(header, m.title)
	}
	rows := [][]string{header}
	for i := range r.Scenarios {
		rows = append(rows, []string{""}, []string{fmt.Sprint(r.Scenarios[i].Scenario)})
		rows = append(rows, r.Scenarios[i].rows()...)
	}
	writeColumns(&out, rows)
	_, err := io.WriteString(w, out.String())
	return err
}

func (s *ScenarioReport) rows() [][]string {
	var rows [][]string
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
	return rows
}

// writeColumns aligns the first column to the left and all others to the right. A row of one cell is a heading.
func writeColumns(out *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		if len(row) == 1 {
			continue
		}
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
