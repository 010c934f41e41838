package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/strand-net/strand/bench/result"
)

// WriteTable tells a run to people.
func WriteTable(w io.Writer, run *result.Run) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n", run.Name)
	c := &run.Connect
	fmt.Fprintf(&out, "connect: %d of %d in %.3g s", c.Made, c.Wanted, c.Seconds)
	if c.Made > 0 {
		fmt.Fprintf(&out, ", each p50 %v, p99 %v, max %v", Latency(c.Latency.ValueAtQuantile(50)), Latency(c.Latency.ValueAtQuantile(99)), Latency(c.Latency.Max()))
	}
	out.WriteString("\n\n")
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "window\tseconds\toperations/s\tmessages/s\tMB/s out\tMB/s in\terrors\t")
	for i, window := range run.Windows {
		per := func(n int64) float64 {
			if window.Seconds == 0 {
				return 0
			}
			return float64(n) / window.Seconds
		}
		fmt.Fprintf(table, "%d\t%.3g\t%.0f\t%.0f\t%.4g\t%.4g\t%d\t\n", i+1, window.Seconds, per(window.Operations), per(window.Messages),
			per(window.BytesOut)/1e6, per(window.BytesIn)/1e6, window.Errors)
	}
	table.Flush()
	out.WriteByte('\n')
	table = tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "operation\tcount\tmean\tp50\tp90\tp99\tp99.9\tmax\t")
	for _, name := range slices.Sorted(maps.Keys(run.Operations)) {
		op := run.Operations[name]
		rows := []struct {
			name      string
			histogram *result.Histogram
		}{{name, op.Response}}
		if op.Lag.TotalCount() > 0 {
			rows = append(rows, struct {
				name      string
				histogram *result.Histogram
			}{"service", op.Service}, struct {
				name      string
				histogram *result.Histogram
			}{"lag", op.Lag})
		}
		for _, row := range rows {
			h := row.histogram
			fmt.Fprintf(table, "%s\t%d\t%v\t%v\t%v\t%v\t%v\t%v\t\n", row.name, h.TotalCount(), Latency(int64(h.Mean())), Latency(h.ValueAtQuantile(50)),
				Latency(h.ValueAtQuantile(90)), Latency(h.ValueAtQuantile(99)), Latency(h.ValueAtQuantile(99.9)), Latency(h.Max()))
		}
		if op.Censored > 0 {
			fmt.Fprintf(table, "without an answer\t%d\t\t\t\t\t\t\t\n", op.Censored)
		}
	}
	table.Flush()
	g := &run.Generator
	fmt.Fprintf(&out, "\nchecked: %d messages, %d lost, %d in another order, %d twice, %d damaged\n",
		run.Check.Checked, run.Check.Lost, run.Check.Reordered, run.Check.Duplicated, run.Check.Corrupt)
	fmt.Fprintf(&out, "generator: busiest thread %.0f %%, CPU %.2f s user, %.2f s system", 100*g.Busiest, g.CPUUser, g.CPUSystem)
	if run.Target > 0 {
		fmt.Fprintf(&out, ", late by p99 %v, %.2f %% taken up in time", Latency(g.Late), 100*g.Achieved)
	}
	out.WriteByte('\n')
	for _, kind := range slices.Sorted(maps.Keys(run.Errors)) {
		fmt.Fprintf(&out, "errors: %d times %s\n", run.Errors[kind], kind)
	}
	for _, fault := range run.Faults {
		fmt.Fprintf(&out, "fault: %s\n", fault)
	}
	for _, why := range run.Invalid {
		fmt.Fprintf(&out, "INVALID: %s\n", why)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// Latency is a time in nanoseconds, to three digits, for people.
func Latency(ns int64) time.Duration {
	unit := int64(1)
	for ns/unit >= 1000 {
		unit *= 10
	}
	return time.Duration((ns + unit/2) / unit * unit)
}
