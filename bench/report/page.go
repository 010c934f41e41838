package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/strand-net/strand/bench/result"
)

// page is what the template shows.
type page struct {
	Title, Subtitle string
	Runs            []runView
	Cards           []card
	Compared        *tableView // of several groups
	Objectives      *tableView
	Operations      tableView
	Windows         []tableView
	Sections        []section
	Facts           []tableView
	Drawings        []drawing
	Files           []file
	Assets          assetsView
}

// runView is what is to be said first of a group.
type runView struct {
	Label   string
	Style   style
	Valid   bool
	Invalid []string
	Partial []string // what it is a part of
	SLO     string
	SLOMet  bool
	Errors  string
	Check   string
	Faulty  bool // the check has found faults
}

type card struct{ Title, Value, Note string }

// tableView is a table of text.
type tableView struct {
	Title, Note string
	Head        []string
	Rows        [][]cell
	Labels      bool // the first cell of each row is its name
	Words       int  // so many columns have words, to the left
}

// cell is one field of a table: a text, what is said beside it, and whether it is "good" or "bad", which it says in words, too.
type cell struct{ Text, Aside, Tone string }

func cells(texts ...string) []cell {
	var all []cell
	for _, text := range texts {
		all = append(all, cell{Text: text})
	}
	return all
}

func newPage(title string, groups []*group) *page {
	p := &page{Title: title, Subtitle: subtitle(groups), Sections: sections(groups), Drawings: []drawing{}}
	for _, g := range groups {
		p.Runs = append(p.Runs, newRunView(g))
	}
	if len(groups) == 1 {
		p.Cards = cards(groups[0])
	} else {
		compared := comparison(groups)
		p.Compared = &compared
	}
	if slo := objectives(groups); len(slo.Rows) > 0 {
		p.Objectives = &slo
	}
	p.Operations = operations(groups)
	p.Windows = windows(groups)
	for _, s := range p.Sections {
		for _, c := range s.Charts {
			p.Drawings = append(p.Drawings, c.drawing())
		}
	}
	for _, f := range []tableView{
		facts("Run", groups, runFacts),
		facts("Errors", groups, errorFacts),
		facts("Check of the payload", groups, checkFacts),
		facts("Connect phase", groups, connectFacts),
		facts("Server", groups, serverFacts),
		facts("Generator", groups, generatorFacts),
		facts("Machine", groups, machineFacts),
		facts("Configuration", groups, configFacts),
	} {
		if f.Title == "Errors" && len(f.Rows) == 0 {
			f.Note = "None."
		}
		if len(f.Rows) > 0 || f.Note != "" {
			p.Facts = append(p.Facts, f)
		}
	}
	return p
}

func subtitle(groups []*group) string {
	run := groups[0].runs[0]
	count := 0
	for _, g := range groups {
		count += len(g.runs)
	}
	var parts []string
	if count > 1 {
		parts = append(parts, fmt.Sprintf("%d runs", count))
	} else if run.Name != "" {
		parts = append(parts, run.Name)
	}
	if !run.Begin.IsZero() {
		parts = append(parts, run.Begin.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if seconds := groups[0].summaries[0].seconds; seconds > 0 {
		of := "1 window"
		if n := len(run.Windows); n > 1 {
			of = fmt.Sprintf("%d windows", n)
		}
		parts = append(parts, fmt.Sprintf("measured for %s in %s", unitSeconds.format(seconds), of))
	}
	if run.Machine.CPU != "" {
		parts = append(parts, fmt.Sprintf("%s, %d cores", run.Machine.CPU, run.Machine.Cores))
	}
	return strings.Join(parts, " · ")
}

func newRunView(g *group) runView {
	v := runView{Label: g.Label, Style: styleOf(g.Index), SLOMet: true}
	var met, of int
	var errors, operations, faults int64
	var check result.Check
	for i, run := range g.runs {
		for _, reason := range run.Invalid {
			if len(g.runs) > 1 {
				reason = fmt.Sprintf("round %d: %s", i+1, reason)
			}
			v.Invalid = append(v.Invalid, reason)
		}
		if run.Shard.Of > 0 {
			v.Partial = append(v.Partial, fmt.Sprintf("This is shard %d of %d alone, not the whole run.", run.Shard.Index, run.Shard.Of))
		}
		if run.Interrupted {
			v.Partial = append(v.Partial, "It was interrupted: these are the figures until then.")
		}
		for _, objective := range run.SLO {
			of++
			if objective.OK {
				met++
			}
		}
		errors += g.summaries[i].errors()
		operations += g.summaries[i].operations
		check.Add(&run.Check)
		faults += run.Check.Faults()
	}
	v.Valid = len(v.Invalid) == 0
	if of > 0 {
		v.SLO, v.SLOMet = fmt.Sprintf("%d of %d objectives met", met, of), met == of
	}
	v.Errors = "no errors"
	if errors > 0 {
		v.Errors = fmt.Sprintf("%s errors in %s operations", integer(errors), integer(operations))
	}
	switch v.Faulty = faults > 0; {
	case v.Faulty:
		v.Check = fmt.Sprintf("%s payloads were lost, out of order, twice or corrupt", integer(faults))
	case check.Datagrams:
		v.Check = fmt.Sprintf("%s payloads checked, all right, and %s lost", integer(check.Checked), integer(check.Lost))
	case check.Checked > 0:
		v.Check = fmt.Sprintf("%s payloads checked, all right", integer(check.Checked))
	default:
		v.Check = "no payload was checked"
	}
	return v
}

// cards are the figures that everybody looks for first.
func cards(g *group) []card {
	var all []card
	run := g.runs[0]
	for _, id := range []string{"rate", "p50", "p99", "p999", "max", "cpu", "rss", "idle", "connects", "errors"} {
		f := figureOf(id)
		m := f.measure(g.summaries, nil)
		if !m.known {
			continue
		}
		c := card{Title: f.title, Value: f.unit.format(m.median)}
		switch id {
		case "rate":
			c.Note = "as fast as answers came"
			if run.Target > 0 {
				c.Note = fmt.Sprintf("%s of the %s that were planned", unitShare.format(m.median/run.Target), unitRate.format(run.Target))
			}
		case "p50", "p99", "p999":
			if lag, known := quantile(g.all.lag, map[string]float64{"p50": 50, "p99": 99, "p999": 99.9}[id]); known {
				c.Note = "schedule lag " + unitLatency.format(lag)
			}
		case "max":
			var censored int64
			for _, n := range g.censored {
				censored += n
			}
			if censored > 0 {
				c.Note = integer(censored) + " never answered"
			}
		case "connects":
			c.Note = fmt.Sprintf("%s of %s made", integer(run.Connect.Made), integer(run.Connect.Wanted))
		case "idle":
			c.Note = "resident, in user space"
			if tcp, known := g.summaries[0].perConn(func(s *result.Sample) int64 { return s.TCPMemory }); known {
				c.Note = "and TCP memory " + unitBytes.format(tcp) + ", both ends"
			}
		}
		if len(g.runs) > 1 {
			c.Note = strings.Trim(fmt.Sprintf("median of %d rounds; %s", m.of, c.Note), "; ")
		}
		all = append(all, c)
	}
	return all
}

// comparison has a row for each figure and a column for each group; ratios are to the first.
func comparison(groups []*group) tableView {
	base := groups[0]
	view := tableView{Labels: true, Words: 1, Head: []string{"Figure"}}
	rounds := 0
	for _, g := range groups {
		view.Head = append(view.Head, g.Label)
		rounds = max(rounds, len(g.runs))
	}
	view.Note = "× is the ratio to " + base.Label + ". One run of each says nothing about how much figures vary from run to run."
	if rounds > 1 {
		view.Note = fmt.Sprintf("Medians of up to %d rounds. × is the ratio to %s: the median of the rounds' ratios, and in brackets the lowest and the highest of them.", rounds, base.Label)
	}
	for i := range figures {
		f := &figures[i]
		row := cells(f.title)
		some := false
		for at, g := range groups {
			m := f.measure(g.summaries, base.summaries)
			some = some || m.known
			c := cell{Text: "–"}
			if m.known {
				c.Text = f.unit.format(m.median)
			}
			if at > 0 {
				c.Aside = "no ratio"
				if m.ratio.known {
					c.Aside, c.Tone = m.ratio.text(f.better)
				}
			}
			row = append(row, c)
		}
		if some {
			view.Rows = append(view.Rows, row)
		}
	}
	return view
}

// text is the ratio, and in a word whether that is for the better; and the same as a tone.
func (r measuredRatio) text(better int) (text, tone string) {
	text = "×" + ratioText(r.median)
	if r.low != r.high {
		text += fmt.Sprintf(" (%s–%s)", ratioText(r.low), ratioText(r.high))
	}
	// Rounds that do not agree on the direction, and what rounds to 1, say neither.
	if ratioText(r.median) == "1.00" || (r.low < 1) != (r.high < 1) || better == 0 {
		return text, ""
	}
	if (r.median > 1) == (better > 0) {
		return text + " better", "good"
	}
	return text + " worse", "bad"
}

func ratioText(v float64) string {
	if v != 0 && (math.Abs(v) < 0.01 || math.Abs(v) >= 10) {
		return significant(v)
	}
	return fmt.Sprintf("%.2f", v)
}

func objectives(groups []*group) tableView {
	view := tableView{Title: "Objectives", Head: []string{"Objective", "Measured", "Verdict"}, Words: 1}
	if len(groups) > 1 {
		view.Words = 2
		view.Head = slices.Insert(view.Head, 0, "Run")
	}
	for _, g := range groups {
		for _, run := range g.runs {
			for _, o := range run.SLO {
				verdict := cell{Text: "✗ missed", Tone: "bad"}
				if o.OK {
					verdict = cell{Text: "✓ met", Tone: "good"}
				}
				measured := significant(o.Value)
				if o.Reason != "" {
					measured = "not known: " + o.Reason
				}
				row := append(cells(o.Expression, measured), verdict)
				if len(groups) > 1 {
					row = slices.Insert(row, 0, cell{Text: g.Label})
				}
				view.Rows = append(view.Rows, row)
			}
		}
	}
	return view
}

// operations is what each kind of exchange took, in full.
func operations(groups []*group) tableView {
	percents := []float64{50, 90, 99, 99.9, 99.99, 100}
	view := tableView{Title: "Exchanges", Head: []string{"Exchange", "Count", "mean"}, Words: 1}
	if len(groups) > 1 {
		view.Words = 2
		view.Head = slices.Insert(view.Head, 0, "Run")
	}
	for _, p := range percents {
		view.Head = append(view.Head, percentileName(p))
	}
	for _, g := range groups {
		for _, name := range operationNames([]*group{g}) {
			for _, kind := range kinds {
				h := kind.of(g.merged[name])
				if !filled(h) {
					continue
				}
				row := cells(name+", "+strings.ToLower(kind.title), integer(h.TotalCount()), unitLatency.format(h.Mean()))
				for _, p := range percents {
					text := "–"
					if v, known := quantile(h, p); known {
						text = unitLatency.format(v)
						if p == 100 && h.Over > 0 {
							text = "more than " + unitLatency.format(float64(result.Highest))
						}
					}
					row = append(row, cell{Text: text})
				}
				if len(groups) > 1 {
					row = slices.Insert(row, 0, cell{Text: g.Label})
				}
				view.Rows = append(view.Rows, row)
			}
			if censored := g.censored[name]; censored > 0 {
				view.Note += fmt.Sprintf("%s, %s: %s had no answer when the drain ended, and count as having taken until then. ", g.Label, name, integer(censored))
			}
		}
	}
	if len(view.Rows) == 0 {
		view.Note = "No exchange ended within the windows."
	}
	return view
}

func orNothing(u unit, v float64) string {
	if v == 0 {
		return "–"
	}
	return u.format(v)
}

// fewWindows: more of them are in the file alone.
const fewWindows = 100

func windows(groups []*group) []tableView {
	var all []tableView
	for _, g := range groups {
		for i, run := range g.runs {
			if len(run.Windows) == 0 || len(all) >= 2*colours {
				continue
			}
			view := tableView{Title: g.Label, Head: []string{"Begin", "Time", "Planned", "Operations", "Median", "p99", "Slowest", "Messages", "Out", "In", "Errors", "Server CPU"}}
			if len(g.runs) > 1 {
				view.Title += fmt.Sprintf(", round %d", i+1)
			}
			for at, w := range run.Windows {
				if at == fewWindows {
					view.Note = fmt.Sprintf("The first %d of %d windows.", at, len(run.Windows))
					break
				}
				perSecond := func(n int64, u unit) string {
					rate, known := ratio(float64(n), w.Seconds)
					if !known {
						return "–"
					}
					if u == unitBytes {
						return u.format(rate) + "/s"
					}
					return u.format(rate)
				}
				cpu := "–"
				if cores, known := ratio(w.CPUUser+w.CPUSystem, w.Seconds); known && cores > 0 {
					cpu = unitCores.format(cores)
				}
				view.Rows = append(view.Rows, cells(
					unitSeconds.format(w.Begin), unitSeconds.format(w.Seconds), orNothing(unitRate, w.Target), perSecond(w.Operations, unitRate),
					orNothing(unitLatency, float64(w.P50)), orNothing(unitLatency, float64(w.P99)), orNothing(unitLatency, float64(w.Max)), perSecond(w.Messages, unitRate),
					perSecond(w.BytesOut, unitBytes), perSecond(w.BytesIn, unitBytes), integer(w.Errors), cpu,
				))
			}
			all = append(all, view)
		}
	}
	return all
}
