package browser_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

// contrast finds text whose contrast to what is behind it is less than WCAG 2.2 asks for (1.4.3: 4.5, or 3 if it is large).
const contrast = `(() => {
	const parse = (text) => text.match(/[\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => {
		const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * x + 0.7152 * y + 0.0722 * z;
	};
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const colour = parse(getComputedStyle(e).backgroundColor);
			if (colour.length < 4 || colour[3] === 1) return colour;
		}
		return [255, 255, 255];
	};
	const bad = [];
	for (const d of document.querySelectorAll('details')) d.open = true;
	for (const e of document.body.querySelectorAll('*')) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.matches('script')) continue;
		const style = getComputedStyle(e);
		const [a, b] = [luminance(parse(style.color)), luminance(behind(e))].sort((x, y) => y - x);
		const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
		if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) bad.push(e.textContent + ': ' + style.color + ' on ' + behind(e));
	}
	return bad;
})()`

const background = `getComputedStyle(document.body).backgroundColor`

func TestLightAndDark(t *testing.T) {
	p := open(t, view{1200, 900, false}, several(3)...)
	light := eval[string](p, background)
	line := eval[string](p, `document.querySelector('figure').uplot.series[1].stroke()`)
	require.Equal(t, "rgb(247, 247, 245)", light)
	require.Empty(t, eval[[]string](p, contrast))

	p.scheme(true)
	eventually(p, `getComputedStyle(document.body).backgroundColor === 'rgb(17, 20, 22)'`)
	eventually(p, `document.getElementById('theme').textContent === 'Light'`)
	require.NotEqual(t, line, eval[string](p, `document.querySelector('figure').uplot.series[1].stroke()`), "the charts have stayed light")
	requireDrawn(t, eval[[]drawnChart](p, charts))
	require.Empty(t, eval[[]string](p, contrast))

	// The reader's choice is stronger than the system's, and lasts.
	p.do(chromedp.Click(chromedp.CSS(`#theme`)))
	require.Equal(t, light, eval[string](p, background))
	require.Equal(t, line, eval[string](p, `document.querySelector('figure').uplot.series[1].stroke()`))
	requireDrawn(t, eval[[]drawnChart](p, charts))
	p.do(chromedp.Reload(), chromedp.WaitReady(chromedp.CSS(`html[data-ready="true"]`)))
	require.Equal(t, light, eval[string](p, background))
	p.do(chromedp.Evaluate[chromedp.Void](`localStorage.clear()`))
	p.requireQuiet()
}

func TestNamesAreNoCode(t *testing.T) {
	const evil = `</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>"'&{{.}}` + "\u2028"
	run, other := several(1)[0], several(1)[0]
	for _, r := range []*result.Run{run, other} {
		r.Name, r.ID, r.ConfigHash = evil, evil, evil
		r.Config, _ = json.Marshal(map[string]string{evil: evil})
		r.Tags, r.Errors = map[string]string{evil: evil}, map[string]int64{evil: 1}
		r.Machine.CPU, r.Machine.Env = evil, map[string]string{evil: evil}
		r.Operations[evil] = r.Operations["echo"]
		r.Invalid, r.SLO = []string{evil}, []result.Objective{{Expression: evil}}
	}
	run.Server.Name, other.Server.Name = evil, evil+"2"
	p := open(t, view{360, 800, false}, run, other)
	require.True(t, eval[bool](p, `window.hacked === undefined`))
	require.Contains(t, eval[string](p, `document.body.textContent`), evil)
	require.Contains(t, eval[string](p, `document.querySelector('.label').textContent`), evil)
	drawn := eval[[]drawnChart](p, charts)
	requireDrawn(t, drawn)
	require.LessOrEqual(t, eval[int](p, `document.documentElement.scrollWidth`), 360, "a long name makes the page scroll sideways")
	p.requireQuiet()
}

func TestDataComesOutAsItWentIn(t *testing.T) {
	runs := several(3)
	p := open(t, view{1200, 900, false}, runs...)
	dir := t.TempDir()
	_, err := chromedp.CallBrowser(p.ctx, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
		Behavior: cdpbrowser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir, EventsEnabled: new(true),
	})
	require.NoError(t, err)
	done := make(chan cdpbrowser.DownloadProgressState, 100)
	require.NoError(t, chromedp.ListenBrowser(p.ctx, func(event any) {
		if progress, ok := event.(*cdpbrowser.EventDownloadProgress); ok && progress.State != cdpbrowser.DownloadProgressStateInProgress {
			done <- progress.State
		}
	}))
	p.do(chromedp.Click(chromedp.CSS(`.download:nth-of-type(2)`)))
	select {
	case state := <-done:
		require.Equal(t, cdpbrowser.DownloadProgressStateCompleted, state)
	case <-p.ctx.Done():
		t.Fatal("nothing was downloaded")
	}
	text, err := os.ReadFile(filepath.Join(dir, "strand-coserver.json"))
	require.NoError(t, err)
	want, err := json.Marshal(runs[1])
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(text))
	p.requireQuiet()
}

func TestPrint(t *testing.T) {
	p := open(t, view{1200, 900, true}, several(3)...)
	p.do(chromedp.Evaluate[chromedp.Void](`window.lines = []; addEventListener('beforeprint', () => lines.push(document.querySelector('figure').uplot.series[1].stroke()))`))
	pdf, err := chromedp.Run(p.ctx, chromedp.PrintToPDF())
	require.NoError(t, err)
	require.Greater(t, len(pdf), 20_000)
	if *shots != "" {
		require.NoError(t, os.WriteFile(filepath.Join(*shots, "print.pdf"), pdf, 0o644))
	}
	require.Equal(t, []string{"rgb(11, 92, 173)"}, eval[[]string](p, `window.lines`), "paper is white")
	require.Equal(t, "rgb(17, 20, 22)", eval[string](p, background), "it stays light after printing")
	p.requireQuiet()
}

// Without scripts every figure stands in a table.
func TestWithoutScripts(t *testing.T) {
	p := open(t, view{800, 900, false}, several(1)...)
	require.Equal(t, 0, eval[int](p, `(() => { document.documentElement.classList.remove('scripts'); return [...document.querySelectorAll('.plot, .legend, #theme, .downloads')].filter((e) => e.checkVisibility()).length })()`))
	require.NotZero(t, eval[int](p, `document.querySelectorAll('figure tbody tr').length`))
}
