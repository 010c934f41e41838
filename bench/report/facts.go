package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/strand-net/strand/bench/result"
)

// fact is a name and what it is in one run.
type fact struct{ name, value string }

// facts is a table of what is known of each group, in the order in which the first of them knows it. A row whose values differ says so.
func facts(title string, groups []*group, of func(*result.Run) []fact) tableView {
	view := tableView{Title: title, Head: []string{""}, Labels: true, Words: len(groups) + 1}
	var names []string
	values := make([]map[string][]string, len(groups))
	for i, g := range groups {
		view.Head = append(view.Head, g.Label)
		values[i] = make(map[string][]string)
		for _, run := range g.runs {
			for _, f := range of(run) {
				if f.value == "" {
					continue
				}
				if !slices.Contains(names, f.name) {
					names = append(names, f.name)
				}
				if !slices.Contains(values[i][f.name], f.value) {
					values[i][f.name] = append(values[i][f.name], f.value)
				}
			}
		}
	}
	if len(groups) == 1 {
		view.Head = nil // there is nothing to tell apart
	}
	for _, name := range names {
		row := cells(name)
		for i := range groups {
			row = append(row, cell{Text: several(values[i][name])})
		}
		if slices.ContainsFunc(row[1:], func(c cell) bool { return c != row[1] }) {
			row[0].Aside = "differs"
		}
		view.Rows = append(view.Rows, row)
	}
	return view
}

// several is the different values of a fact in the rounds of a group.
func several(values []string) string {
	switch len(values) {
	case 0:
		return "–"
	case 1, 2, 3:
		return strings.Join(values, " / ")
	}
	return fmt.Sprintf("%s / %s / … (%d values)", values[0], values[1], len(values))
}

// machineFacts has all machines of a run whose shards ran on several.
func machineFacts(r *result.Run) []fact {
	if len(r.Machines) == 0 {
		return factsOfMachine(&r.Machine)
	}
	var all []fact
	for i := range r.Machines {
		all = append(all, factsOfMachine(&r.Machines[i])...)
	}
	return all
}

func factsOfMachine(m *result.Machine) []fact {
	text := func(condition bool, format string, args ...any) string {
		if !condition {
			return ""
		}
		return fmt.Sprintf(format, args...)
	}
	all := []fact{
		{"CPU", m.CPU},
		{"Cores", text(m.Cores > 0, "%d usable, %d threads a core, %d NUMA nodes", m.Cores, m.Threads, m.NUMANodes)},
		{"Governor", m.Governor},
		{"Virtual", cmp.Or(m.Virtual, "no")},
		{"Steal", unitShare.format(m.Steal)},
		{"Memory", text(m.Memory > 0, "%s", unitBytes.format(float64(m.Memory)))},
		{"CPU quota", text(m.CPUQuota > 0, "%s", unitCores.format(m.CPUQuota))},
		{"Descriptors", text(m.Descriptors > 0, "%s", integer(m.Descriptors))},
		{"System", strings.TrimSpace(m.OS + "/" + m.Arch + " " + m.Kernel)},
		{"Network", m.Network},
		{"Go", text(m.Go != "", "%s, GOMAXPROCS %d", m.Go, m.GOMAXPROCS)},
	}
	for _, name := range slices.Sorted(maps.Keys(m.Env)) {
		all = append(all, fact{name, m.Env[name]})
	}
	changed := ""
	if m.Modified {
		changed = ", with local changes"
	}
	all = append(all, fact{"Version", m.Version}, fact{"Revision", text(m.Revision != "", "%s%s", m.Revision, changed)})
	for _, name := range slices.Sorted(maps.Keys(m.Sysctls)) {
		all = append(all, fact{name, m.Sysctls[name]})
	}
	return all
}

// configFacts takes the configuration apart, whatever it has: a row for each value in it, named by the way to it.
func configFacts(r *result.Run) []fact {
	var all []fact
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				walk(strings.TrimPrefix(path+"."+key, "."), v[key])
			}
			return
		case []any:
			var items []string
			for i, item := range v {
				switch item.(type) {
				case map[string]any, []any:
					walk(fmt.Sprintf("%s[%d]", path, i), item)
				default:
					items = append(items, fmt.Sprint(item))
				}
			}
			if len(items) > 0 {
				all = append(all, fact{path, strings.Join(items, ", ")})
			}
			return
		case nil:
			return
		}
		all = append(all, fact{cmp.Or(path, "configuration"), fmt.Sprint(v)})
	}
	var config any
	decoder := json.NewDecoder(bytes.NewReader(r.Config))
	decoder.UseNumber()
	if decoder.Decode(&config) == nil { // Write has checked it
		walk("", config)
	}
	return append(all, fact{"SHA-256", r.ConfigHash})
}

func runFacts(r *result.Run) []fact {
	all := []fact{{"Name", r.Name}, {"Begin", r.Begin.Format(time.RFC3339)}, {"Run", r.ID}}
	if r.Shard.Of > 0 {
		all = append(all, fact{"Shard", fmt.Sprintf("%d of %d: this is a part of a run", r.Shard.Index, r.Shard.Of)})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Tags)) {
		all = append(all, fact{"Tag " + name, r.Tags[name]})
	}
	return all
}

func connectFacts(r *result.Run) []fact {
	c := &r.Connect
	all := []fact{
		{"Wanted", integer(c.Wanted)}, {"Made", integer(c.Made)}, {"Failed", integer(c.Failed)},
		{"Time", unitSeconds.format(c.Seconds)},
	}
	if rate, known := ratio(float64(c.Made), c.Seconds); known {
		all = append(all, fact{"Rate", unitRate.format(rate)})
	}
	if filled(c.Latency) {
		for _, p := range []float64{50, 90, 99, 99.9, 100} {
			if v, known := quantile(c.Latency, p); known {
				all = append(all, fact{"Connect " + percentileName(p), unitLatency.format(v)})
			}
		}
	}
	return all
}

func percentileName(p float64) string {
	switch p {
	case 50:
		return "median"
	case 100:
		return "slowest"
	}
	return fmt.Sprintf("p%v", p)
}

func errorFacts(r *result.Run) []fact {
	var all []fact
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		all = append(all, fact{cmp.Or(kind, "unknown"), integer(r.Errors[kind])})
	}
	return all
}

func checkFacts(r *result.Run) []fact {
	c := &r.Check
	verdict := "every one was right"
	switch {
	case c.Checked == 0:
		verdict = "nothing was checked"
	case c.Faults() > 0:
		verdict = "wrong: see below"
	}
	lost := integer(c.Lost)
	if c.Late > 0 {
		lost += fmt.Sprintf(", of which %s came late", integer(c.Late))
	}
	all := []fact{
		{"Verdict", verdict}, {"Checked", integer(c.Checked)}, {"Lost", lost}, {"Out of order", integer(c.Reordered)},
		{"Twice", integer(c.Duplicated)}, {"Corrupt", integer(c.Corrupt)},
	}
	if told := r.Receipt; told != nil {
		all = append(all, fact{"Received, as the server says", fmt.Sprintf("%s bytes on %s streams in %s", integer(told.Bytes), integer(told.Streams), unitSeconds.format(told.Seconds))})
	}
	return all
}

func generatorFacts(r *result.Run) []fact {
	g := &r.Generator
	return []fact{
		{"CPU", fmt.Sprintf("%s user, %s system", unitSeconds.format(g.CPUUser), unitSeconds.format(g.CPUSystem))},
		{"Threads", integer(g.Threads)},
		{"Busiest thread", unitShare.format(g.Busiest) + " of the time"},
		{"Peak resident memory", unitBytes.format(float64(g.MaxRSS))},
	}
}

func serverFacts(r *result.Run) []fact {
	s := r.Server
	if s == nil && r.Unwatched != "" {
		return []fact{{"Watched", "no: " + r.Unwatched}}
	}
	if s == nil {
		return nil
	}
	size := func(of func(*result.Sample) int64) string {
		before, idle, begin, end := of(&s.Before), of(&s.Idle), of(&s.Begin), of(&s.End)
		if before == 0 && idle == 0 && begin == 0 && end == 0 {
			return ""
		}
		return fmt.Sprintf("%s → %s → %s → %s", unitBytes.format(float64(before)), unitBytes.format(float64(idle)),
			unitBytes.format(float64(begin)), unitBytes.format(float64(end)))
	}
	var cpu float64
	for _, w := range r.Windows {
		cpu += w.CPUUser + w.CPUSystem
	}
	toEnd := func(text string) string {
		if !s.SeenToEnd() {
			return "unknown: it was not there in the end"
		}
		return text
	}
	all := []fact{
		{"Watched", strings.TrimSuffix(fmt.Sprintf("%s (process %d)", s.Name, s.PID), " (process 0)")},
		{"Host", s.Host},
		{"CPU in the windows", toEnd(unitSeconds.format(cpu))},
		{"Resident (RSS): before, idle, begin, end", size(func(s *result.Sample) int64 { return s.RSS })},
		{"Proportional (PSS): the same", size(func(s *result.Sample) int64 { return s.PSS })},
		{"TCP memory of the machine: the same", size(func(s *result.Sample) int64 { return s.TCPMemory })},
		{"Go heap: the same", size(func(s *result.Sample) int64 {
			if s.Runtime == nil {
				return 0
			}
			return s.Runtime.Heap
		})},
		{"Peak resident memory", unitBytes.format(float64(s.MaxRSS))},
		{"Threads", integer(s.End.Threads)},
		{"Descriptors while idle", integer(s.Idle.Descriptors)},
		{"Context switches in the windows", toEnd(fmt.Sprintf("%s voluntary, %s not", integer(s.End.VoluntarySwitches-s.Begin.VoluntarySwitches),
			integer(s.End.InvoluntarySwitches-s.Begin.InvoluntarySwitches)))},
	}
	if begin, end := s.Begin.Runtime, s.End.Runtime; begin != nil && end != nil {
		all = append(all,
			fact{"Goroutines", integer(end.Goroutines)},
			fact{"Stacks", unitBytes.format(float64(end.Stack))},
			fact{"Garbage collection in the windows", fmt.Sprintf("%s cycles, %s of CPU, pauses %s in all, at most %s since the start", integer(end.GCCycles-begin.GCCycles),
				unitLatency.format((end.GCCPU-begin.GCCPU)*1e9), unitLatency.format((end.GCPauses-begin.GCPauses)*1e9), unitLatency.format(end.GCMaxPause*1e9))})
	}
	return all
}
