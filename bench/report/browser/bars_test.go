package browser_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/report"
)

// The chart for documents keeps its texts inside of it and apart from each other, and can be read in light and dark.
func TestBars(t *testing.T) {
	p := open(t, view{900, 700, false}, several(1)...)
	bars, err := report.BarsOf("Engines compared with net", "net", several(3))
	require.NoError(t, err)
	bars.Blocks[0].Rows[1].Ratios[0] = report.Ratio{Median: 11.38, Low: 10, High: 12}
	bars.Blocks[0].Rows[2].Ratios[1] = report.Ratio{Median: 1999, Low: 1000, High: 4000}
	path := filepath.Join(t.TempDir(), "bars.svg")
	file, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, report.SVG(file, bars))
	require.NoError(t, file.Close())
	p.allow((&url.URL{Scheme: "file", Path: path}).String())
	p.do(chromedp.Navigate("file://" + path))

	require.Empty(t, eval[[]string](p, `(() => {
		const page = document.querySelector('rect.page').getBoundingClientRect();
		const all = [...document.querySelectorAll('text')].map((e) => ({ text: e.textContent, box: e.getBoundingClientRect() }));
		const bars = [...document.querySelectorAll('rect.bar')].map((e) => ({ text: 'a bar', box: e.getBoundingClientRect() }));
		const bad = all.filter(({ box }) => box.left < page.left || box.right > page.right || box.bottom > page.bottom).map(({ text }) => text + ' is outside');
		for (const a of all) for (const b of [...all, ...bars]) {
			if (a !== b && a.box.left < b.box.right && b.box.left < a.box.right && a.box.top + 3 < b.box.bottom && b.box.top + 3 < a.box.bottom) bad.push(a.text + ' is over ' + b.text);
		}
		return bad;
	})()`))
	fill := `(() => [getComputedStyle(document.querySelector('rect.page')).fill, getComputedStyle(document.querySelector('text')).fill])()`
	require.Equal(t, []string{"rgb(255, 255, 255)", "rgb(26, 31, 36)"}, eval[[]string](p, fill))
	p.scheme(true)
	require.Equal(t, []string{"rgb(21, 25, 28)", "rgb(230, 233, 236)"}, eval[[]string](p, fill))
	p.requireQuiet()
}
