package ab

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteTable writes the report for people: a line for each metric.
func (r *Report) WriteTable(w io.Writer) error {
	rows := [][]string{{"", "A", "B", "B/A", "", "p", ""}}
	for _, m := range r.Metrics {
		rows = append(rows, []string{
			m.Name, m.A.format(m.Unit), m.B.format(m.Unit),
			fmt.Sprintf("%.3f", m.Ratio), fmt.Sprintf("[%.3f, %.3f]", m.Lowest, m.Most), fmt.Sprintf("%.3f", m.Adjusted), string(m.Verdict),
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "A: %s\nB: %s\n%d runs each in random order; medians ± their intervals, at %g %% confidence; p is adjusted for the number of lines\n\n", r.A, r.B, r.Runs, 100*r.Confidence)
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		out.WriteString(strings.TrimRight(line.String(), " "))
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// format writes a median, and half of its interval in percent.
func (m *Median) format(unit string) string {
	half := 0.0
	if m.Center != 0 {
		half = 100 * max(m.Highest-m.Center, m.Center-m.Lowest) / m.Center
	}
	text := fmt.Sprintf("%.4g %s", m.Center, unit)
	switch unit {
	case "ns":
		text = time.Duration(m.Center).Round(time.Microsecond / 10).String()
	case "B":
		text = fmt.Sprintf("%.4g MiB", m.Center/(1<<20))
	case "/s":
		text = fmt.Sprintf("%.0f/s", m.Center)
	}
	return fmt.Sprintf("%s ± %.0f%%", text, half)
}
