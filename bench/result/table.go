package result

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteTable writes what people want to know of r, as text: one table of latencies, and a line for each thing besides.
func (r *Run) WriteTable(w io.Writer) error {
	var out strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&out, "%-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	m := &r.Machine
	fmt.Fprintf(&out, "%s\n%s, %d cores, %s %s, %s\n\n", r.Name, m.CPU, m.Cores, m.OS, m.Kernel, m.Go)
	r.writeLatencies(&out)
	out.WriteByte('\n')

	total := r.total()
	if total.Seconds > 0 {
		per := func(n int64) float64 { return float64(n) / total.Seconds }
		target := ""
		if r.Target > 0 {
			target = fmt.Sprintf(" of %.6g planned", r.Target)
		}
		line("rate", "%.6g operations/s%s, %.6g messages/s, %s/s out, %s/s in, in %s", per(total.Operations), target,
			per(total.Messages), bytesText(per(total.BytesOut)), bytesText(per(total.BytesIn)), r.windowsText(total.Seconds))
	}
	if r.Staged() {
		r.writeStages(&out)
	}
	line("connections", "%d of %d in %.3g s, %d failed", r.Connect.Made, r.Connect.Wanted, r.Connect.Seconds, r.Connect.Failed)
	c, late := &r.Check, ""
	if c.Late > 0 {
		late = fmt.Sprintf(" (of them %d late)", c.Late)
	}
	line("checked", "%d answers: %d lost%s, %d reordered, %d duplicated, %d corrupt", c.Checked, c.Lost, late, c.Reordered, c.Duplicated, c.Corrupt)
	if c := r.Receipt; c != nil && c.Seconds > 0 {
		line("received", "%d bytes on %d streams, as the server says: %s/s in %.3g s", c.Bytes, c.Streams, bitsText(float64(c.Bytes)*8/c.Seconds), c.Seconds)
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		line("errors", "%d %s", r.Errors[kind], kind)
	}
	if s := r.Server; s != nil {
		line("server", "%s: %s, %s in use at most%s", s.Name, r.cpuText(), bytesText(float64(s.MaxRSS)), r.perConn())
		for _, text := range s.lines() {
			line("", "%s", text)
		}
	} else if r.Unwatched != "" {
		line("server", "not watched: %s", r.Unwatched)
	}
	g := &r.Generator
	line("generator", "%.3g s of CPU, %d threads, the busiest %.0f %% of the time", g.CPUUser+g.CPUSystem, g.Threads, 100*g.Busiest)
	if g.Achieved > 0 { // the loop was open
		line("", "late by p99 %s, %.2f %% taken up in time", durationText(g.Late), 100*g.Achieved)
	}
	for _, fault := range r.Faults {
		line("fault", "%s", fault)
	}
	for _, o := range r.SLO {
		outcome := "kept"
		if !o.OK {
			outcome = "not kept"
		}
		if o.Reason != "" {
			line("objective", "%s: %s: %s", o.Expression, outcome, o.Reason)
		} else {
			line("objective", "%s: %s, with %.4g", o.Expression, outcome, o.Value)
		}
	}
	if r.Interrupted {
		line("INTERRUPTED", "these are the figures until then")
	}
	for _, reason := range r.Invalid {
		line("INVALID", "%s", reason)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// lines say what was seen of a server from the begin of the first window to the end of the last one, and in the end.
func (s *Server) lines() []string {
	var all []string
	if !s.SeenToEnd() {
		return nil
	}
	begin, end := &s.Begin, &s.End
	if end.CPUUser+end.CPUSystem > begin.CPUUser+begin.CPUSystem {
		text := fmt.Sprintf("%.3g s of CPU, %.3g s of it in the kernel", end.CPUUser+end.CPUSystem-begin.CPUUser-begin.CPUSystem, end.CPUSystem-begin.CPUSystem)
		if end.VoluntarySwitches+end.InvoluntarySwitches > 0 {
			text += fmt.Sprintf(", %d context switches and %d that it did not want", end.VoluntarySwitches-begin.VoluntarySwitches,
				end.InvoluntarySwitches-begin.InvoluntarySwitches)
		}
		all = append(all, text)
	}
	var memory []string
	for _, m := range []struct {
		name  string
		bytes int64
	}{{"RSS", end.RSS}, {"PSS", end.PSS}, {"TCP memory of the machine", end.TCPMemory}} {
		if m.bytes > 0 {
			memory = append(memory, m.name+" "+bytesText(float64(m.bytes)))
		}
	}
	if len(memory) > 0 {
		all = append(all, "in the end "+strings.Join(memory, ", "))
	}
	if b, e := begin.Runtime, end.Runtime; b != nil && e != nil {
		all = append(all, fmt.Sprintf("heap %s, stacks %s, %d goroutines, %d collections with pauses of %s all together", bytesText(float64(e.Heap)),
			bytesText(float64(e.Stack)), e.Goroutines, e.GCCycles-b.GCCycles, durationText(int64((e.GCPauses-b.GCPauses)*1e9))))
	}
	return all
}

func (r *Run) cpuText() string {
	seconds, reason := r.cpuPerMessage()
	if reason != "" {
		return "CPU for a message unknown, " + reason
	}
	return fmt.Sprintf("%.3g µs of CPU for a message", seconds*1e6)
}

func (r *Run) perConn() string {
	if r.Connect.Made == 0 {
		return ""
	}
	return fmt.Sprintf(", %s for a connection that rests", bytesText(float64(r.Server.Idle.RSS-r.Server.Before.RSS)/float64(r.Connect.Made)))
}

func (r *Run) writeLatencies(out *strings.Builder) {
	rows := [][]string{{"", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"}}
	add := func(name string, h *Histogram) {
		s := h.Summary()
		row := []string{name, fmt.Sprint(s.Count)}
		for _, ns := range []int64{s.Min, int64(s.Mean), s.P50, s.P90, s.P99, s.P999, s.P9999, s.Max} {
			row = append(row, durationText(ns))
		}
		if s.Over > 0 {
			row[len(row)-1] = ">1h"
		}
		rows = append(rows, row)
	}
	for _, name := range r.operationNames() {
		for _, k := range r.Operations[name].histograms() {
			if k.name == KindLag && (*k.of).empty() {
				continue // the loop was closed
			}
			add(name+" "+k.name, *k.of)
		}
	}
	if !r.Connect.Latency.empty() {
		add(kindConnect, r.Connect.Latency)
	}
	writeRows(out, rows)
}

// writeStages writes what came of each target.
func (r *Run) writeStages(out *strings.Builder) {
	rows := [][]string{{"stage", "time", "planned", "achieved", "p50", "p99", "max", "errors"}}
	for i, w := range r.Windows {
		rows = append(rows, []string{fmt.Sprint(i + 1), fmt.Sprintf("%.3gs", w.Seconds), fmt.Sprintf("%.6g/s", w.Target), fmt.Sprintf("%.6g/s", float64(w.Operations)/w.Seconds),
			durationText(w.P50), durationText(w.P99), durationText(w.Max), fmt.Sprint(w.Errors)})
	}
	out.WriteByte('\n')
	writeRows(out, rows)
	out.WriteByte('\n')
}

// writeRows writes a table whose first column stands to the left.
func writeRows(out *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		fmt.Fprintf(out, "%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(out, "  %*s", widths[i+1], cell)
		}
		out.WriteByte('\n')
	}
}

// durationText has three digits, which is what a histogram knows.
func durationText(ns int64) string {
	for _, u := range []struct {
		name string
		one  time.Duration
	}{{"s", time.Second}, {"ms", time.Millisecond}} {
		if ns+ns/2000 >= int64(u.one) { // 999.9 µs are 1.00 ms
			return fmt.Sprintf("%s%s", threeDigits(float64(ns)/float64(u.one)), u.name)
		}
	}
	return threeDigits(float64(ns)/1e3) + "µs"
}

func bytesText(n float64) string {
	for _, u := range []struct {
		name string
		one  float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.one {
			return threeDigits(n/u.one) + " " + u.name
		}
	}
	return threeDigits(n) + " B"
}

func bitsText(n float64) string {
	for _, u := range []struct {
		name string
		one  float64
	}{{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}} {
		if n >= u.one {
			return threeDigits(n/u.one) + " " + u.name
		}
	}
	return threeDigits(n) + " bit"
}

// threeDigits writes v with three significant digits, but all in front of the point.
func threeDigits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%#.3g", v)
}

// windowsText says how long was measured.
func (r *Run) windowsText(seconds float64) string {
	if len(r.Windows) == 1 {
		return fmt.Sprintf("one window of %.3g s", seconds)
	}
	return fmt.Sprintf("%d windows of %.3g s all together", len(r.Windows), seconds)
}
