package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/strand-net/strand/bench/result"
)

// TagRound is the tag that says which repetition of the same measurement a run is. Runs that differ in nothing else of what names them (name,
// server, tags) are rounds of one group: one line of a legend, one column of a table.
const TagRound = "round"

// group is what is compared: a run, or several rounds of it.
type group struct {
	Label  string
	Index  int // also of its colour and dashes
	runs   []*result.Run
	merged map[string]*result.Operation // histograms of all rounds
	all    latencies                    // over all operations and rounds

	timelines []timeline // of each run
	summaries []*summary
}

// latencies are histograms over everything that a run did.
type latencies struct{ response, service, lag *result.Histogram }

// parts are what a run is named by.
func parts(r *result.Run) []string {
	name, server := cmp.Or(r.Name, "unnamed run"), ""
	if r.Server != nil {
		server = r.Server.Name
	}
	all := []string{name, server}
	for _, key := range slices.Sorted(maps.Keys(r.Tags)) {
		if key != TagRound {
			all = append(all, key+"="+r.Tags[key])
		}
	}
	return all
}

// newGroups puts rounds together and labels each group by what sets it apart from the others.
func newGroups(runs []*result.Run) []*group {
	var groups []*group
	byParts := make(map[string]*group)
	for _, run := range runs {
		key := fmt.Sprintf("%q", parts(run))
		_, round := run.Tags[TagRound]
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
		g.merge()
		for _, run := range g.runs {
			g.timelines = append(g.timelines, newTimeline(run))
			g.summaries = append(g.summaries, summarize(run))
		}
	}
	return groups
}

func (g *group) merge() {
	g.all = latencies{result.NewHistogram(), result.NewHistogram(), result.NewHistogram()}
	g.merged = make(map[string]*result.Operation)
	for _, run := range g.runs {
		for name, operation := range run.Operations {
			if operation == nil {
				continue
			}
			sum := g.merged[name]
			if sum == nil {
				sum = &result.Operation{Response: result.NewHistogram(), Service: result.NewHistogram(), Lag: result.NewHistogram()}
				g.merged[name] = sum
			}
			sum.Count += operation.Count
			sum.Censored += operation.Censored
			add(operation.Response, sum.Response, g.all.response)
			add(operation.Service, sum.Service, g.all.service)
			add(operation.Lag, sum.Lag, g.all.lag)
		}
	}
}

func add(h *result.Histogram, to ...*result.Histogram) {
	if !filled(h) {
		return
	}
	for _, sum := range to {
		// A histogram from a file may reach further than ours; what is above counts as the highest, as in Record.
		sum.Over += h.Over + sum.Merge(h.Histogram)
	}
}

// filled reports whether h has recorded anything. A file may leave histograms out.
func filled(h *result.Histogram) bool { return h != nil && h.Histogram != nil && h.TotalCount() > 0 }

// over returns the latencies of one run over all of its operations.
func over(r *result.Run) latencies {
	g := group{runs: []*result.Run{r}}
	g.merge()
	return g.all
}
