package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/strand-net/strand/bench/result"
)

// group is what is compared: a run, or several rounds of it: runs that differ in nothing of what names them (name, server, tags) but
// result.TagRound. It is one line of a legend, one column of a table.
type group struct {
	Label string
	Index int // also of its colour and dashes
	runs  []*result.Run

	merged   map[string]latencies // of all rounds, by operation
	censored map[string]int64     // the same
	all      latencies            // over all operations

	timelines []timeline // of each run
	summaries []*summary
}

// latencies are the three ways to see exchanges.
type latencies struct{ response, service, lag *result.Histogram }

// parts are what a run is named by.
func parts(r *result.Run) []string {
	name, server := cmp.Or(r.Name, "unnamed run"), ""
	if r.Server != nil {
		server = r.Server.Name
	}
	all := []string{name, server}
	for _, key := range slices.Sorted(maps.Keys(r.Tags)) {
		if key != result.TagRound {
			all = append(all, key+"="+r.Tags[key])
		}
	}
	return all
}

// newGroups puts rounds together and labels each group by what sets it apart from the others. It fails if histograms do not go together.
func newGroups(runs []*result.Run) ([]*group, error) {
	var groups []*group
	byParts := make(map[string]*group)
	for _, run := range runs {
		key := fmt.Sprintf("%q", parts(run))
		_, round := run.Tags[result.TagRound]
		g := byParts[key]
		if g == nil || !round {
			g = &group{Index: len(groups)}
			groups = append(groups, g)
			if round {
				byParts[key] = g
			}
		}
		g.runs = append(g.runs, run)
	}
	count := make(map[string]int) // of the groups that have a part
	for _, g := range groups {
		for _, part := range slices.Compact(slices.Sorted(slices.Values(parts(g.runs[0])))) {
			count[part]++
		}
	}
	labels := make(map[string]int)
	for _, g := range groups {
		var apart []string
		for _, part := range parts(g.runs[0]) {
			if part != "" && count[part] < len(groups) {
				apart = append(apart, part)
			}
		}
		if len(apart) == 0 {
			apart = parts(g.runs[0])[:1]
		}
		g.Label = strings.Join(apart, ", ")
		labels[g.Label]++
	}
	number := make(map[string]int)
	for _, g := range groups {
		if plain := g.Label; labels[plain] > 1 {
			number[plain]++
			g.Label = fmt.Sprintf("%s #%d", plain, number[plain])
		}
		if err := g.merge(); err != nil {
			return nil, err
		}
		for _, run := range g.runs {
			g.timelines = append(g.timelines, newTimeline(run))
			s, err := summarize(run)
			if err != nil {
				return nil, err
			}
			g.summaries = append(g.summaries, s)
		}
	}
	return groups, nil
}

func (g *group) merge() error {
	g.all = newLatencies()
	g.merged = make(map[string]latencies)
	g.censored = make(map[string]int64)
	for _, run := range g.runs {
		for _, name := range slices.Sorted(maps.Keys(run.Operations)) {
			operation := run.Operations[name]
			if operation == nil {
				continue
			}
			if g.merged[name].response == nil {
				g.merged[name] = newLatencies()
			}
			g.censored[name] += operation.Censored
			for _, sum := range []latencies{g.merged[name], g.all} {
				err := cmp.Or(sum.response.Add(operation.Response), sum.service.Add(operation.Service), sum.lag.Add(operation.Lag))
				if err != nil {
					return fmt.Errorf("run %q: operation %q: %w", run.Name, name, err)
				}
			}
		}
	}
	return nil
}

func newLatencies() latencies {
	return latencies{result.NewHistogram(), result.NewHistogram(), result.NewHistogram()}
}

// filled reports whether h has recorded anything. A file may leave histograms out.
func filled(h *result.Histogram) bool { return h != nil && h.Histogram != nil && h.TotalCount() > 0 }
