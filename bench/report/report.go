// Package report makes one HTML page of load runs: what was run, whether its figures may be believed, the figures, charts, and the data
// itself. The page is one file that asks nothing of any network.
package report

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/strand-net/strand/bench/result"
)

//go:embed page assets/uPlot.iife.min.js assets/uPlot.min.css assets/uPlot.LICENSE
var assets embed.FS

// pageTemplate is parsed when a page is made, as barsTemplate is.
var pageTemplate = sync.OnceValue(func() *template.Template { return template.Must(template.ParseFS(assets, "page/page.html")) })

// assetsView is what makes the page work, within the page. Its policy allows the scripts and styles that are in it, known by their hashes,
// and nothing else: no other script, no request, no form.
type assetsView struct {
	Policy  string
	Styles  []template.CSS
	Early   template.JS // before the page is shown
	Scripts []template.JS
	Licence string
}

// file is a run in the page: its JSON, compressed.
type file struct {
	Name, Label string
	Data        template.HTML
}

// Write writes a page about the runs to w, or nothing if it returns an error that is not w's. Of several runs the first is what the others are
// compared with; runs that differ in nothing but the tag result.TagRound are rounds of one. A figure that is no number (NaN, infinity), a
// configuration that is no JSON and a missing run are errors that name it.
func Write(w io.Writer, title string, runs []*result.Run) error {
	if len(runs) == 0 {
		return errors.New("report: there is no run")
	}
	var files []file
	for i, run := range runs {
		if run == nil {
			return fmt.Errorf("report: run %d is missing", i+1)
		}
		f, err := newFile(run)
		if err != nil {
			return fmt.Errorf("report: run %d (%q): %w", i+1, run.Name, err)
		}
		files = append(files, f)
	}
	groups, err := newGroups(runs)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	p := newPage(title, groups)
	p.Assets = newAssets()
	for _, g := range groups {
		for round, run := range g.runs {
			f := &files[slices.Index(runs, run)]
			f.Label = g.Label
			if len(g.runs) > 1 {
				f.Label = fmt.Sprintf("%s, round %d", f.Label, round+1)
			}
			f.Name = fileName(f.Label)
		}
	}
	p.Files = files
	var out bytes.Buffer
	if err := pageTemplate().Execute(&out, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	_, err = out.WriteTo(w)
	return err
}

func newFile(run *result.Run) (file, error) {
	if err := finite(reflect.ValueOf(run), ""); err != nil {
		return file{}, err
	}
	if run.Config != nil && !json.Valid(run.Config) {
		return file{}, errors.New("config is not JSON")
	}
	// Only who puts shards together needs the histogram of every second, and all of them are larger than everything else.
	short := *run
	short.Intervals = slices.Clone(run.Intervals)
	for i := range short.Intervals {
		short.Intervals[i].Latency = ""
	}
	short.Windows = slices.Clone(run.Windows)
	for i := range short.Windows {
		short.Windows[i].Latency = ""
	}
	text, err := json.Marshal(&short)
	if err != nil {
		return file{}, err
	}
	var out strings.Builder
	encoder := base64.NewEncoder(base64.StdEncoding, &out)
	compressor := gzip.NewWriter(encoder)
	// Nothing can fail in memory.
	compressor.Write(text)
	compressor.Close()
	encoder.Close()
	return file{Data: template.HTML(out.String())}, nil // base64 has nothing to escape
}

// fileName is the label as a file may be called anywhere.
func fileName(label string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, label)
	words := strings.FieldsFunc(clean, func(r rune) bool { return r == '-' })
	name := strings.Join(words, "-")
	return "strand-" + name[:min(len(name), 60)] + ".json"
}

func newAssets() assetsView {
	read := func(name string) string {
		text, err := assets.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		return string(text)
	}
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	styles, scripts := "", ""
	v := assetsView{Licence: read("assets/uPlot.LICENSE"), Early: template.JS(read("page/theme.js"))}
	scripts += hash(string(v.Early))
	for _, name := range []string{"assets/uPlot.min.css", "page/page.css"} {
		v.Styles = append(v.Styles, template.CSS(read(name)))
		styles += hash(read(name))
	}
	for _, name := range []string{"assets/uPlot.iife.min.js", "page/format.js", "page/page.js"} {
		v.Scripts = append(v.Scripts, template.JS(read(name)))
		scripts += hash(read(name))
	}
	v.Policy = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; script-src" + scripts + "; style-src" + styles
	return v
}
