package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"text/template"

	"github.com/strand-net/strand/bench/result"
)

// Bars is a chart of ratios, for a document: to a base, of several engines, in several scenarios.
type Bars struct {
	Title, Note string
	Base        string // the engine whose ratios are 1
	Columns     []Column
	Blocks      []Block
}

// Column is one figure.
type Column struct {
	Title  string
	Better int // 1 if more is better, -1 if less is
}

// Block is one scenario.
type Block struct {
	Title string
	Rows  []Row
}

// Row is one engine, with a ratio for each column.
type Row struct {
	Name   string
	Ratios []Ratio
}

// Ratio is the median of the rounds' ratios, and the lowest and the highest of them. One that is not known is the zero value.
type Ratio struct{ Median, Low, High float64 }

// barColumns are the figures that a chart of runs has.
var barColumns = []struct {
	figure, title string
}{
	{"messages", "Messages a second"}, {"cpu", "CPU a message"}, {"p99", "p99 latency"}, {"idle", "Memory a connection"},
}

// BarsOf makes a chart of runs: each name of a run is a scenario, each server an engine. The base is the engine of that name or, if there is none,
// the first.
func BarsOf(title, base string, runs []*result.Run) (Bars, error) {
	b := Bars{Title: title, Base: base}
	for _, c := range barColumns {
		b.Columns = append(b.Columns, Column{c.title, figureOf(c.figure).better})
	}
	type key struct{ scenario, engine string }
	summaries := make(map[key][]*summary)
	var scenarios, engines []string
	rounds := 0
	for i, run := range runs {
		if run == nil || run.Server == nil || run.Server.Name == "" {
			return Bars{}, fmt.Errorf("report: run %d does not name its server: there is nothing to compare it with", i+1)
		}
		s, err := summarize(run)
		if err != nil {
			return Bars{}, fmt.Errorf("report: %w", err)
		}
		at := key{run.Name, run.Server.Name}
		summaries[at] = append(summaries[at], s)
		rounds = max(rounds, len(summaries[at]))
		for _, list := range []struct {
			all  *[]string
			name string
		}{{&scenarios, at.scenario}, {&engines, at.engine}} {
			if !slices.Contains(*list.all, list.name) {
				*list.all = append(*list.all, list.name)
			}
		}
	}
	if len(engines) > 0 && !slices.Contains(engines, base) {
		b.Base = engines[0]
	}
	b.Note = Rounds(rounds)
	for _, scenario := range scenarios {
		block := Block{Title: scenario}
		for _, engine := range engines {
			group := summaries[key{scenario, engine}]
			if len(group) == 0 {
				continue
			}
			row := Row{Name: engine}
			for _, c := range barColumns {
				m := figureOf(c.figure).measure(group, summaries[key{scenario, b.Base}])
				row.Ratios = append(row.Ratios, Ratio{m.ratio.median, m.ratio.low, m.ratio.high})
			}
			block.Rows = append(block.Rows, row)
		}
		b.Blocks = append(b.Blocks, block)
	}
	return b, nil
}

// Rounds says in words what the ratios of so many rounds are.
func Rounds(n int) string {
	if n == 1 {
		return "One run of each: how much it varies from run to run is not known."
	}
	return fmt.Sprintf("Bars are medians of the ratios of %d rounds, whiskers the lowest and the highest.", n)
}

// Measures of the chart, in its own pixels.
const (
	barsWidth   = 760
	barsMargin  = 20
	barsNames   = 84  // the column with the names of engines
	barsTop     = 112 // what stands above the first block
	barsTitle   = 34  // the title of a block
	barsRow     = 22
	barsGap     = 14
	barsLimit   = 2  // ratios above it run out of their column, and say so
	barsFigures = 46 // the place for a number beside a bar
)

// barsTemplate is parsed when a chart is made, for a program that makes none starts without it.
var barsTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("bars.svg").Funcs(template.FuncMap{"xml": xmlText}).ParseFS(assets, "page/bars.svg"))
})

func xmlText(text string) string {
	var out bytes.Buffer
	xml.EscapeText(&out, []byte(text)) // it writes to memory
	return out.String()
}

// drawnBars is a chart with the places of everything in it.
type drawnBars struct {
	Title, Note, Words    string
	Width, Height, Margin int
	Heads                 []drawnHead
	Blocks                []drawnBlock
}

// Inner and InnerHeight leave room for the line around the chart.
func (d drawnBars) Inner() int       { return d.Width - 2 }
func (d drawnBars) InnerHeight() int { return d.Height - 2 }

type drawnHead struct {
	X, Base       float64
	Title, Better string
}

type drawnBlock struct {
	Y                  int
	Title              string
	Rows               []drawnRow
	LineTop, LineBelow int
}

type drawnRow struct {
	Y    int
	Name string
	Bars []drawnBar
}

type drawnBar struct {
	X, Width          float64
	Low, High         float64 // ends of the whisker
	TextX             float64
	Text, Class       string
	Known, Whisk, Out bool
}

// SVG writes the chart as one file, which shows itself in light or dark as its reader prefers. A ratio that is no positive number, and a chart that has
// nothing to show, are errors that name it.
func SVG(w io.Writer, b Bars) error {
	if len(b.Columns) == 0 || len(b.Blocks) == 0 {
		return fmt.Errorf("report: chart %q has nothing to show", b.Title)
	}
	d := drawnBars{Title: b.Title, Note: b.Note, Width: barsWidth, Margin: barsMargin}
	width := float64(barsWidth-2*barsMargin-barsNames) / float64(len(b.Columns))
	scale := (width - barsFigures - 8) / barsLimit
	left := func(column int) float64 { return barsMargin + barsNames + float64(column)*width }
	for i, c := range b.Columns {
		better := "less is better"
		if c.Better > 0 {
			better = "more is better"
		}
		d.Heads = append(d.Heads, drawnHead{left(i), left(i) + scale, c.Title, better})
	}
	var words []string
	y := barsTop
	for _, block := range b.Blocks {
		drawn := drawnBlock{Y: y + 20, Title: block.Title, LineTop: y + barsTitle - 6}
		y += barsTitle
		for _, row := range block.Rows {
			if len(row.Ratios) != len(b.Columns) {
				return fmt.Errorf("report: %s, %s: %d ratios for %d columns", block.Title, row.Name, len(row.Ratios), len(b.Columns))
			}
			line := drawnRow{Y: y, Name: row.Name}
			var said []string
			for i, r := range row.Ratios {
				if r != (Ratio{}) && !(r.Low > 0 && r.Low <= r.Median && r.Median <= r.High && !math.IsInf(r.High, 0)) {
					return fmt.Errorf("report: %s, %s, %s: %v (%v to %v) is no ratio", block.Title, row.Name, b.Columns[i].Title, r.Median, r.Low, r.High)
				}
				bar := b.bar(row.Name, i, r, left(i), scale)
				line.Bars = append(line.Bars, bar)
				said = append(said, b.Columns[i].Title+" "+bar.Text)
			}
			words = append(words, fmt.Sprintf("%s, %s: %s.", block.Title, row.Name, strings.Join(said, ", ")))
			drawn.Rows = append(drawn.Rows, line)
			y += barsRow
		}
		drawn.LineBelow = y
		d.Blocks = append(d.Blocks, drawn)
		y += barsGap
	}
	d.Height = y + 6
	d.Words = fmt.Sprintf("Ratios to %s. %s", b.Base, strings.Join(words, " "))
	var out bytes.Buffer
	if err := barsTemplate().Execute(&out, d); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err := out.WriteTo(w)
	return err
}

func (b *Bars) bar(name string, column int, r Ratio, left, scale float64) drawnBar {
	if r == (Ratio{}) {
		return drawnBar{X: left, TextX: left, Text: "–", Class: "base"}
	}
	at := func(v float64) float64 { return left + scale*min(v, barsLimit) }
	bar := drawnBar{
		X: left, Width: at(r.Median) - left, Known: true, Low: at(r.Low), High: at(r.High), Whisk: r.Low != r.High, Out: r.Median > barsLimit,
		Text: ratioText(r.Median), Class: "same",
	}
	bar.TextX = max(at(r.Median), bar.High) + 6
	if bar.Out {
		bar.TextX += 8 // behind the point of the arrow
	}
	switch {
	case name == b.Base:
		bar.Class = "base"
	case r.Low < 1 && r.High > 1 || bar.Text == "1.00":
		// Rounds that do not agree on it say neither.
	case (r.Median > 1) == (b.Columns[column].Better > 0):
		bar.Class = "better"
	default:
		bar.Class = "worse"
	}
	return bar
}
