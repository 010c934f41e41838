package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// chart is one chart of the page: what uPlot draws of it, and what stands in words beside it.
type chart struct {
	ID     string
	Title  string
	Note   string
	Unit   unit
	Kind   string // "time", or "percentile", whose x is 1/(1-p)
	Log    bool   // the reader may choose a logarithmic scale
	Wide   bool   // it has a row of its own
	Legend []entry
	lines  []line
}

// entry is one line of a legend. Several lines may share it: those of the rounds of a group.
type entry struct {
	Label string
	Style style
}

// style tells lines apart, by colour and by dashes, so that nobody depends on the colour.
type style struct{ Colour, Dash int }

// colours and dashes are how many the page knows.
const (
	colours = 8
	dashes  = 8
)

func styleOf(i int) style { return style{i % colours, (i + i/colours) % dashes} }

// dashPatterns are on and off, in pixels.
var dashPatterns = [dashes][]int{nil, {8, 4}, {2, 3}, {10, 3, 2, 3}, {16, 4}, {5, 2, 2, 2, 2, 2}, {4, 4}, {12, 4, 6, 4}}

// Dashes is the pattern as SVG writes it.
func (s style) Dashes() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(dashPatterns[s.Dash]), " ", ","), "[]")
}

// line is one line of a chart. A y that is NaN is missing.
type line struct {
	entry int
	x, y  []float64
}

// add gives the chart a line, unless it has no point. Lines that are added with the same label share their entry.
func (c *chart) add(label string, s style, x, y []float64) {
	if !slices.ContainsFunc(y, func(v float64) bool { return !math.IsNaN(v) }) {
		return
	}
	at := slices.IndexFunc(c.Legend, func(e entry) bool { return e.Label == label && e.Style == s })
	if at < 0 {
		at = len(c.Legend)
		c.Legend = append(c.Legend, entry{label, s})
	}
	c.lines = append(c.lines, line{at, x, y})
}

// points is how many each of the lines of a page may have, so that the page stays small and quick.
func points(lines int) int { return min(600, max(60, 2400/max(1, lines))) }

// drawing is a chart as the page's script reads it.
type drawing struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"`
	Unit   unit      `json:"unit"`
	Log    bool      `json:"log"`
	Lines  []drawn   `json:"lines"`
	Tables []columns `json:"tables"` // one for each set of lines over the same x; in the order of the lines
}

type drawn struct {
	Label  string `json:"label"`
	Entry  int    `json:"entry"`
	Colour int    `json:"colour"`
	Dash   []int  `json:"dash"`
}

// columns is x, and then each y.
type columns [][]number

// number is written short, and null if it is missing.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) {
		return []byte("null"), nil
	}
	return json.Marshal(rounded(float64(n)))
}

// rounded leaves the digits that a chart can show.
func rounded(v float64) float64 {
	if v == 0 || math.Abs(v) < 1e-290 {
		return 0
	}
	digits := 4 - int(math.Floor(math.Log10(math.Abs(v))))
	if unit := math.Pow10(-digits); digits < 0 { // of a whole number the quotient has no more digits than it needs
		if v := math.Round(v/unit) * unit; !math.IsInf(v, 0) {
			return v
		}
		return v
	}
	return math.Round(v*math.Pow10(digits)) / math.Pow10(digits)
}

func (c *chart) drawing() drawing {
	d := drawing{ID: c.ID, Kind: c.Kind, Unit: c.Unit, Log: c.Log}
	for i := 0; i < len(c.lines); {
		// Lines that stand one after the other over the same x are one table.
		same := i + 1
		for same < len(c.lines) && slices.Equal(c.lines[same].x, c.lines[i].x) {
			same++
		}
		var ys [][]float64
		for _, l := range c.lines[i:same] {
			e := c.Legend[l.entry]
			d.Lines = append(d.Lines, drawn{e.Label, l.entry, e.Style.Colour, dashPatterns[e.Style.Dash]})
			ys = append(ys, l.y)
		}
		d.Tables = append(d.Tables, table(c.lines[i].x, ys, points(len(c.lines))))
		i = same
	}
	return d
}

func table(x []float64, ys [][]float64, n int) columns {
	keep := thin(x, ys, n)
	pick := func(values []float64) []number {
		var picked []number
		for _, i := range keep {
			picked = append(picked, number(values[i]))
		}
		return picked
	}
	t := columns{pick(x)}
	for _, y := range ys {
		t = append(t, pick(y))
	}
	return t
}

// Summary is the chart in words, for those who cannot see it.
func (c *chart) Summary() string {
	var parts []string
	for at, e := range c.Legend {
		var values []float64
		var topX float64
		top := math.Inf(-1)
		for _, l := range c.lines {
			if l.entry != at {
				continue
			}
			for i, y := range l.y {
				if math.IsNaN(y) {
					continue
				}
				values = append(values, y)
				if y > top {
					top, topX = y, l.x[i]
				}
			}
		}
		if c.Kind == kindPercentile {
			parts = append(parts, fmt.Sprintf("%s: up to %s", e.Label, c.Unit.format(top)))
		} else {
			parts = append(parts, fmt.Sprintf("%s: median %s, highest %s at %s", e.Label, c.Unit.format(median(values)), c.Unit.format(top), c.formatX(topX)))
		}
	}
	return c.Title + ". " + strings.Join(parts, "; ") + "."
}

// What a chart is drawn over.
const (
	kindTime       = "time"
	kindPercentile = "percentile"
)

func (c *chart) formatX(x float64) string {
	if c.Kind == kindTime {
		return unitSeconds.format(x)
	}
	return percentText(x) + " %"
}

// percentText writes the percentile whose 1/(1-p) is x, with as many nines as it has.
func percentText(x float64) string {
	digits := max(0, int(math.Ceil(math.Log10(x)-2-1e-9))) + 1
	text := fmt.Sprintf("%.*f", digits, 100-100/x)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// rows is how many the table of a chart has at most, if it is over time.
const rows = 24

// Table is the chart in numbers: what x is, then each line of the legend.
func (c *chart) Table() tableView {
	view := tableView{Head: []string{"Time"}, Words: 1}
	if c.Kind == kindPercentile {
		view.Head[0] = "Percentile"
	}
	// Of several rounds the table has the first.
	first := make([]*line, len(c.Legend))
	var longest []float64
	for i := range c.lines {
		l := &c.lines[i]
		first[l.entry] = cmp.Or(first[l.entry], l)
		if len(l.x) > len(longest) {
			longest = l.x
		}
	}
	for _, e := range c.Legend {
		view.Head = append(view.Head, e.Label)
	}
	step := max(1, (len(longest)+rows-1)/rows)
	if c.Kind == kindPercentile {
		step = 1
	} else if step > 1 {
		view.Note = fmt.Sprintf("One of every %d points; the file that this report was made from has them all.", step)
	}
	for i := 0; i < len(longest); i += step {
		if c.Kind == kindPercentile && !telling(longest[i]) {
			continue
		}
		row := cells(c.formatX(longest[i]))
		for _, l := range first {
			row = append(row, cell{Text: c.at(l, longest[i])})
		}
		view.Rows = append(view.Rows, row)
	}
	return view
}

// at is the last value of the line that is not after x. Intervals of several runs do not begin at the same moment.
func (c *chart) at(l *line, x float64) string {
	at, found := slices.BinarySearch(l.x, x)
	if !found {
		at--
	}
	if at < 0 || math.IsNaN(l.y[at]) || !found && at == len(l.x)-1 {
		return "–"
	}
	return c.Unit.format(l.y[at])
}
