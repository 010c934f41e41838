package result

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// quantity is what can stand on the left of a condition.
type quantity struct {
	name      string
	dimension dimension
	// of is the value in r, in nanoseconds, bytes or as it is, or else why it is not known.
	of func(r *Run) (value float64, unknown string)
}

// kindConnect is how long connects took, which belongs to no operation.
const kindConnect = "connect"

// parseQuantity finds the quantity of that name: one of the figures, or a latency, with operation and kind in front of it.
func parseQuantity(name string) (quantity, error) {
	for _, f := range figures {
		if f.name == name {
			return f, nil
		}
	}
	of, statistic, err := parseStatistic(name)
	if err != nil {
		return quantity{}, err
	}
	if of == nil {
		return parseOfOperation(name)
	}
	operation, kind := splitKind(strings.TrimSuffix(strings.TrimSuffix(name, statistic), "."))
	if operation != "" && kind == kindConnect {
		return quantity{}, fmt.Errorf("%s belongs to no operation", kindConnect)
	}
	return quantity{name, duration, func(r *Run) (float64, string) {
		h, unknown := r.latencies(operation, kind)
		if unknown != "" {
			return 0, unknown
		}
		value := of(h)
		if h.Over > 0 && value >= float64(Highest) {
			return value, "it is beyond the hour that histograms reach to"
		}
		return value, ""
	}}, nil
}

// parseStatistic finds what a name of a latency ends in: pN, min, mean or max. It returns nil for none of them.
func parseStatistic(name string) (of func(*Histogram) float64, statistic string, err error) {
	_, last := cutLast(name)
	switch last {
	case "min":
		return func(h *Histogram) float64 { return float64(h.Min()) }, last, nil
	case "mean":
		return func(h *Histogram) float64 { return h.Mean() }, last, nil
	case "max":
		return func(h *Histogram) float64 { return float64(h.Max()) }, last, nil
	}
	// A percentile may have a point of its own, as in echo.p99.9.
	statistic = name
	if i := strings.LastIndex(name, ".p"); i >= 0 {
		statistic = name[i+1:]
	}
	digits, ok := strings.CutPrefix(statistic, "p")
	if !ok || strings.Trim(digits, "0123456789.") != "" || digits == "" {
		return nil, "", nil
	}
	percentile, err := strconv.ParseFloat(digits, 64)
	if err != nil || percentile <= 0 || percentile > 100 {
		return nil, "", fmt.Errorf("%s is no percentile: p is followed by a number above 0 and up to 100", statistic)
	}
	return func(h *Histogram) float64 { return float64(h.ValueAtQuantile(percentile)) }, statistic, nil
}

// splitKind splits what stands in front of a latency: an operation, a kind, or both.
func splitKind(prefix string) (operation, kind string) {
	front, last := cutLast(prefix)
	if slices.Contains([]string{KindResponse, KindService, KindLag, kindConnect}, last) {
		return front, last
	}
	return prefix, KindResponse
}

func cutLast(name string) (front, last string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// latencies is the histogram that a condition is about: that of an operation, or of all of them for "".
func (r *Run) latencies(operation, kind string) (*Histogram, string) {
	all := NewHistogram()
	if kind == kindConnect {
		if err := all.Add(r.Connect.Latency); err != nil {
			return nil, err.Error()
		}
	} else {
		if unknown := r.checkOperation(operation); unknown != "" {
			return nil, unknown
		}
		for name, o := range r.Operations {
			if operation != "" && name != operation {
				continue
			}
			for _, k := range o.histograms() {
				if k.name != kind {
					continue
				}
				if err := all.Add(*k.of); err != nil {
					return nil, err.Error()
				}
			}
		}
	}
	if all.empty() {
		return nil, "nothing was recorded"
	}
	return all, ""
}

// checkOperation says why nothing is known of an operation.
func (r *Run) checkOperation(name string) (unknown string) {
	if name == "" || r.Operations[name] != nil {
		return ""
	}
	return fmt.Sprintf("the run has no operation %q, only %s", name, strings.Join(r.operationNames(), ", "))
}

// ofOperation are the figures that each operation has for itself, too.
var ofOperation = map[string]struct {
	dimension dimension
	of        func(*Run, *Operation) (float64, string)
}{
	"count":    {plain, func(_ *Run, o *Operation) (float64, string) { return float64(o.Count), "" }},
	"censored": {plain, func(_ *Run, o *Operation) (float64, string) { return float64(o.Censored), "" }},
	"rate": {plain, func(r *Run, o *Operation) (float64, string) {
		return r.perSecond(o.Count)
	}},
}

func parseOfOperation(name string) (quantity, error) {
	operation, last := cutLast(name)
	figure, ok := ofOperation[last]
	if !ok || operation == "" {
		return quantity{}, fmt.Errorf("%q is no quantity: there are %s, and pN, min, mean and max", name, strings.Join(figureNames(), ", "))
	}
	return quantity{name, figure.dimension, func(r *Run) (float64, string) {
		if unknown := r.checkOperation(operation); unknown != "" {
			return 0, unknown
		}
		return figure.of(r, r.Operations[operation])
	}}, nil
}

func figureNames() []string {
	var names []string
	for _, f := range figures {
		names = append(names, f.name)
	}
	return names
}

// figures are the quantities of the whole run that are not latencies.
var figures = []quantity{
	{"rate", rate, func(r *Run) (float64, string) { return r.perSecond(r.total().Operations) }},
	{"message_rate", plain, func(r *Run) (float64, string) { return r.perSecond(r.total().Messages) }},
	{"count", plain, known(func(r *Run) (n int64) {
		for _, o := range r.Operations {
			n += o.Count
		}
		return n
	})},
	{"censored", plain, known(func(r *Run) (n int64) {
		for _, o := range r.Operations {
			n += o.Censored
		}
		return n
	})},
	{"errors", plain, known((*Run).errors)},
	{"connect_failed", plain, known(func(r *Run) int64 { return int64(r.Connect.Failed) })},
	{"lost", plain, known(func(r *Run) int64 { return r.Check.Lost })},
	{"loss", plain, func(r *Run) (float64, string) {
		c := &r.Check
		if c.Checked+c.Lost == 0 {
			return 0, "nothing was checked"
		}
		return float64(c.Lost) / float64(c.Checked+c.Lost), ""
	}},
	{"late", plain, known(func(r *Run) int64 { return r.Check.Late })},
	{"reordered", plain, known(func(r *Run) int64 { return r.Check.Reordered })},
	{"duplicated", plain, known(func(r *Run) int64 { return r.Check.Duplicated })},
	{"corrupt", plain, known(func(r *Run) int64 { return r.Check.Corrupt })},
	{"cpu_us_per_message", plain, func(r *Run) (float64, string) {
		seconds, reason := r.cpuPerMessage()
		return seconds * 1e6, reason
	}},
	{"rss_per_conn", size, func(r *Run) (float64, string) {
		if r.Server == nil {
			return 0, "nobody watched the server"
		}
		if r.Connect.Made == 0 {
			return 0, "there was no connection"
		}
		return float64(r.Server.Idle.RSS-r.Server.Before.RSS) / float64(r.Connect.Made), ""
	}},
	{"max_rss", size, func(r *Run) (float64, string) {
		if r.Server == nil {
			return 0, "nobody watched the server"
		}
		return float64(r.Server.MaxRSS), ""
	}},
}

func known(of func(*Run) int64) func(*Run) (float64, string) {
	return func(r *Run) (float64, string) { return float64(of(r)), "" }
}

// errors are all there were. Those within the windows and failed connects may be in the list by kind, and are then not counted twice.
func (r *Run) errors() int64 {
	var byKind int64
	for _, n := range r.Errors {
		byKind += n
	}
	return max(byKind, r.total().Errors, int64(r.Connect.Failed))
}

// perSecond is n by the length of all windows.
func (r *Run) perSecond(n int64) (float64, string) {
	if seconds := r.total().Seconds; seconds > 0 {
		return float64(n) / seconds, ""
	}
	return 0, "there was no window"
}

// cpuPerMessage is the server's processor time for a message in seconds, over all windows; or the reason why nobody knows it.
func (r *Run) cpuPerMessage() (seconds float64, reason string) {
	total := r.total()
	switch {
	case r.Server == nil:
		return 0, "nobody watched the server"
	case !r.Server.SeenToEnd():
		return 0, "the server was not there in the end"
	case total.Messages == 0:
		return 0, "there was no message"
	}
	return (total.CPUUser + total.CPUSystem) / float64(total.Messages), ""
}

// total is all windows as one.
func (r *Run) total() (total Window) {
	for _, w := range r.Windows {
		total.Seconds += w.Seconds
		total.Operations += w.Operations
		total.Messages += w.Messages
		total.BytesOut += w.BytesOut
		total.BytesIn += w.BytesIn
		total.Errors += w.Errors
		total.CPUUser += w.CPUUser
		total.CPUSystem += w.CPUSystem
	}
	return total
}
