package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

func bars() Bars {
	return Bars{
		Title: "Engines", Base: "net", Note: Rounds(7), Columns: []Column{{"Messages a second", 1}, {"p99 latency", -1}},
		Blocks: []Block{{"echo", []Row{
			{"net", []Ratio{{1, 1, 1}, {1, 1, 1}}},
			{"loop", []Ratio{{7.5, 7, 8}, {0.5, 0.4, 0.6}}},
			{"slow", []Ratio{{0.5, 0.4, 0.9}, {}}},
			{"other", []Ratio{{1.1, 0.9, 1.3}, {1.5, 1.5, 1.5}}},
		}}},
	}
}

// requireXML wants text that any reader of SVG takes.
func requireXML(t *testing.T, text string) {
	t.Helper()
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := decoder.Token()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
	}
}

func TestBars(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, SVG(&out, bars()))
	text := out.String()
	requireXML(t, text)
	require.Contains(t, text, "echo, loop: Messages a second 7.50, p99 latency 0.50. echo, slow: Messages a second 0.50, p99 latency –.", "in words, for those who do not see it")
	for class, want := range map[string]int{`class="bar base"`: 2, `class="bar better"`: 3, `class="bar worse"`: 2, `class="bar same"`: 1, `class="whisker"`: 3} {
		require.Equal(t, want, strings.Count(text, class), class) // the bar that runs out of its column has a point, which is of its class
	}
	require.Less(t, len(text), 20_000)
	require.NotContains(t, text, "href")
}

func TestBarsWithNamesThatAreCode(t *testing.T) {
	const evil = "</title><script>alert(1)</script>&\"'\x00\xff]]>"
	b := bars()
	b.Title, b.Note, b.Base, b.Blocks[0].Title, b.Blocks[0].Rows[0].Name, b.Columns[0].Title = evil, evil, evil, evil, evil, evil
	var out bytes.Buffer
	require.NoError(t, SVG(&out, b))
	requireXML(t, out.String())
	require.NotContains(t, out.String(), "<script")
}

func TestBarsThatCannotBeDrawn(t *testing.T) {
	for _, r := range []Ratio{{math.NaN(), 1, 1}, {1, 1, math.Inf(1)}, {-1, -1, -1}, {1, 2, 3}, {1, 0, 1}} {
		b := bars()
		b.Blocks[0].Rows[1].Ratios[1] = r
		require.ErrorContains(t, SVG(io.Discard, b), "report: echo, loop, p99 latency: ")
	}
	b := bars()
	b.Blocks[0].Rows[1].Ratios = nil
	require.EqualError(t, SVG(io.Discard, b), "report: echo, loop: 0 ratios for 2 columns")
	b.Blocks = nil
	require.EqualError(t, SVG(io.Discard, b), `report: chart "Engines" has nothing to show`)
}

func TestBarsOfRuns(t *testing.T) {
	runs := []*result.Run{run("loop", 10, 0.5), run("net", 10, 1), run("loop", 10, 0.25), run("net", 10, 1)}
	b, err := BarsOf("A title", "net", runs)
	require.NoError(t, err)
	require.Equal(t, "net", b.Base)
	require.Contains(t, b.Note, "2 rounds")
	require.Len(t, b.Blocks, 1)
	require.Equal(t, "loop", b.Blocks[0].Rows[0].Name)
	require.Equal(t, []Ratio{{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}}, b.Blocks[0].Rows[1].Ratios)
	cpu := b.Blocks[0].Rows[0].Ratios[1]
	require.InDeltaSlice(t, []float64{0.375, 0.25, 0.5}, []float64{cpu.Median, cpu.Low, cpu.High}, 0.001)

	b, err = BarsOf("A title", "nginx", runs)
	require.NoError(t, err)
	require.Equal(t, "loop", b.Base)

	runs[1].Server = nil
	_, err = BarsOf("A title", "net", runs)
	require.EqualError(t, err, "report: run 2 does not name its server: there is nothing to compare it with")
}
