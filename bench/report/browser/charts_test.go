package browser_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/report/internal/made"
	"github.com/strand-net/strand/bench/result"
)

// drawnChart is what is seen of a chart.
type drawnChart struct {
	ID     string   `json:"id"`
	Legend []string `json:"legend"`
	Series []string `json:"series"`
	Seen   []int    `json:"seen"`  // pixels of the colour of each line, in the plot
	Words  string   `json:"words"` // for those who do not see it
	Rows   int      `json:"rows"`  // of its table
	Fits   bool     `json:"fits"`  // it is as wide as its place
}

// charts looks at the pixels of every chart.
const charts = `[...document.querySelectorAll('figure')].map((figure) => {
	const u = figure.uplot;
	const { left, top, width, height } = u.bbox;
	const pixels = u.ctx.getImageData(left, top, width, height).data;
	const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
	const seen = u.series.slice(1).map((s) => {
		probe.fillStyle = s.stroke();
		probe.fillRect(0, 0, 1, 1);
		const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
		let count = 0;
		for (let i = 0; i < pixels.length; i += 4) {
			if (pixels[i + 3] > 100 && Math.abs(pixels[i] - r) + Math.abs(pixels[i + 1] - g) + Math.abs(pixels[i + 2] - b) < 60) count++;
		}
		return count;
	});
	return {
		id: figure.id,
		legend: [...figure.querySelectorAll('.entry .label')].map((e) => e.textContent),
		series: u.series.slice(1).map((s) => s.label),
		seen,
		words: figure.querySelector('.plot').getAttribute('aria-label'),
		rows: figure.querySelectorAll('details tbody tr').length,
		fits: Math.abs(u.root.getBoundingClientRect().width - figure.querySelector('.plot').clientWidth) < 1,
	};
})`

func requireDrawn(t *testing.T, drawn []drawnChart) {
	t.Helper()
	for _, c := range drawn {
		require.Equal(t, c.Legend, c.Series, c.ID)
		for i, pixels := range c.Seen {
			require.Greater(t, pixels, 10, "%s: %s is not seen", c.ID, c.Series[i])
		}
		for _, line := range c.Legend {
			require.Contains(t, c.Words, line, c.ID)
		}
		require.NotZero(t, c.Rows, c.ID)
		require.True(t, c.Fits, c.ID)
	}
}

func TestChartsAreDrawn(t *testing.T) {
	const single, several3 = 1, 3
	for runs, want := range map[int][]string{
		single: {"percentile-0", "latency-time", "rate-time", "connections", "in-flight", "cpu", "memory"},
		several3: {
			"percentile-0-0", "percentile-0-1", "percentile-0-2", "p50", "p99", "p999", "max", "rate-time", "connections", "in-flight", "errors",
			"cpu-all", "cpu-user", "cpu-system", "rss", "pss", "heap", "tcp",
		},
	} {
		for _, v := range []view{{360, 800, false}, {768, 900, true}, {1600, 1000, false}, {2200, 1200, true}} {
			t.Run(fmt.Sprintf("%d runs at %d", runs, v.width), func(t *testing.T) {
				p := open(t, v, several(runs)...)
				drawn := eval[[]drawnChart](p, charts)
				var ids []string
				for _, c := range drawn {
					ids = append(ids, c.ID[len("chart-"):])
					switch {
					case runs == single:
					case c.ID == "chart-rate-time":
						require.Equal(t, []string{"net", "net, target", "coserver", "coserver, target", "loop", "loop, target"}, c.Legend)
					case c.ID == "chart-errors":
						require.Equal(t, []string{"loop"}, c.Legend)
					default:
						require.Equal(t, []string{"net", "coserver", "loop"}, c.Legend)
					}
				}
				require.Equal(t, want, ids)
				requireDrawn(t, drawn)
				require.LessOrEqual(t, eval[int](p, `document.documentElement.scrollWidth`), int(v.width), "the page scrolls sideways")
				require.Less(t, eval[float64](p, `new Promise((done) => new PerformanceObserver((list) => done(list.getEntries().reduce((sum, e) => sum + e.value, 0)))
					.observe({ type: 'layout-shift', buffered: true }) ?? setTimeout(() => done(0), 300))`), 0.01, "what stands there moves while the page loads")
				p.requireQuiet()
			})
		}
	}
}

func TestRoundsAreLinesOfOneEntry(t *testing.T) {
	var runs []*result.Run
	for round := range 3 {
		for _, run := range several(2) {
			run.Tags = map[string]string{"round": fmt.Sprint(round)}
			runs = append(runs, run)
		}
	}
	p := open(t, view{1200, 900, false}, runs...)
	require.Equal(t, []string{"net", "coserver"}, eval[[]string](p, `[...document.querySelectorAll('#chart-p99 .label')].map((e) => e.textContent)`))
	require.Equal(t, 6, eval[int](p, `document.querySelector('#chart-p99').uplot.series.length - 1`))
	p.do(chromedp.Click(chromedp.CSS(`#chart-p99 .entry`)))
	require.Equal(t, []bool{false, false, false, true, true, true}, eval[[]bool](p, `document.querySelector('#chart-p99').uplot.series.slice(1).map((s) => s.show)`))
	p.requireQuiet()
}

// Everything that a mouse does to a chart, a keyboard does.
func TestKeyboard(t *testing.T) {
	p := open(t, view{1200, 900, false}, several(1)...)
	p.do(chromedp.Focus(chromedp.CSS(`#chart-latency-time .plot`)), chromedp.KeyEvent(kb.End))
	require.Equal(t, "59 s", eval[string](p, `document.querySelector('#chart-latency-time .at').textContent`))
	p.do(chromedp.KeyEvent(kb.Home), chromedp.KeyEvent(kb.ArrowRight))
	require.Equal(t, "-4 s", eval[string](p, `document.querySelector('#chart-latency-time .at').textContent`))
	require.Regexp(t, `^\d.* (µs|ms)$`, eval[string](p, `document.querySelector('#chart-latency-time .value').textContent`))
	require.Equal(t, "-4 s", eval[string](p, `document.querySelector('#chart-memory .at').textContent`), "charts over the same time do not go together")

	p.do(chromedp.Focus(chromedp.CSS(`#chart-memory .entry:nth-child(2)`)), chromedp.KeyEvent(kb.Enter))
	require.Equal(t, "false", eval[string](p, `document.querySelector('#chart-memory .entry:nth-child(2)').getAttribute('aria-pressed')`))
	drawn := eval[[]drawnChart](p, charts)
	memory := drawn[len(drawn)-1]
	require.Equal(t, "chart-memory", memory.ID)
	require.Zero(t, memory.Seen[1], "a line that was switched off is seen")
	require.NotZero(t, memory.Seen[0])

	require.Equal(t, "Linear scale", eval[string](p, `document.querySelector('#chart-latency-time .scale').textContent`))
	p.do(chromedp.Focus(chromedp.CSS(`#chart-latency-time .scale`)), chromedp.KeyEvent(kb.Enter))
	require.Equal(t, "Log scale", eval[string](p, `document.querySelector('#chart-latency-time .scale').textContent`))
	require.Equal(t, 1, eval[int](p, `document.querySelector('#chart-latency-time').uplot.scales.y.distr`))

	p.do(chromedp.Focus(chromedp.CSS(`#chart-memory summary`)), chromedp.KeyEvent(kb.Enter))
	require.True(t, eval[bool](p, `document.querySelector('#chart-memory details').open`))
	p.requireQuiet()
}

func TestChartsFollowTheWindow(t *testing.T) {
	p := open(t, view{1600, 1000, false}, several(1)...)
	for _, width := range []int64{700, 360, 1200} {
		p.size(width, 900)
		eventually(p, `[...document.querySelectorAll('figure')].every((f) => Math.abs(f.uplot.root.getBoundingClientRect().width - f.querySelector('.plot').clientWidth) < 1)`)
		requireDrawn(t, eval[[]drawnChart](p, charts))
		require.LessOrEqual(t, eval[int](p, `document.documentElement.scrollWidth`), int(width))
	}
	p.requireQuiet()
}

func TestLongRunsAndShortOnes(t *testing.T) {
	long := made.Run{Name: "long", Server: "net", Seconds: 100_000, Factor: 1}.Result()
	t.Run("100,000 intervals", func(t *testing.T) {
		p := open(t, view{1200, 900, false}, long)
		requireDrawn(t, eval[[]drawnChart](p, charts))
		require.Contains(t, eval[string](p, `document.querySelector('#chart-latency-time .plot').getAttribute('aria-label')`), "max: median", "")
		p.requireQuiet()
	})
	t.Run("one interval", func(t *testing.T) {
		run := several(1)[0]
		run.Intervals = run.Intervals[10:11]
		run.Intervals[0].Rate = 30_000 // apart from the target
		p := open(t, view{1200, 900, false}, run)
		drawn := eval[[]drawnChart](p, charts)
		requireDrawn(t, drawn)
		require.Equal(t, "chart-memory", drawn[len(drawn)-1].ID, "one sample has no CPU, but all else")
		p.requireQuiet()
	})
	t.Run("nothing", func(t *testing.T) {
		p := open(t, view{1200, 900, false}, &result.Run{}, &result.Run{Begin: time.Now()})
		require.Zero(t, eval[int](p, `document.querySelectorAll('figure').length`))
		require.Contains(t, eval[string](p, `document.body.innerText`), "No exchange ended within the windows.")
		p.requireQuiet()
	})
}
