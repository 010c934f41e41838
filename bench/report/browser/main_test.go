package browser_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/report"
	"github.com/strand-net/strand/bench/result"
)

// patience is how long a page may take, on a machine that is busy.
const patience = time.Minute

var chromium = flag.String("chromium", "", "browser to use, instead of one on PATH")

// browser is a running Chromium, whose tabs the tests are.
var browser context.Context

func TestMain(m *testing.M) {
	os.Exit(func() int {
		flag.Parse()
		program := *chromium
		names := []string{"chromium", "chromium-browser", "google-chrome"}
		for _, name := range names {
			if path, err := exec.LookPath(name); err == nil && program == "" {
				program = path
			}
		}
		if program == "" {
			fmt.Fprintln(os.Stderr, "there is no browser: none of", strings.Join(names, ", "), "is on PATH; -chromium says where it is")
			return 1
		}
		profile, err := os.MkdirTemp("", "strand-browser")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(profile)
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.UserDataDir(profile),
			chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-gpu", true))
		allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
		defer cancelAllocator()
		var cancel context.CancelFunc
		browser, cancel = chromedp.NewContext(allocator)
		defer cancel()
		if err := chromedp.Do(browser, chromedp.Navigate("about:blank")); err != nil {
			fmt.Fprintln(os.Stderr, program, "does not start:", err)
			return 1
		}
		return m.Run()
	}())
}

// page is a report in a tab.
type page struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	allowed  []string // addresses that a test itself goes to
	messages []string // of the console, and errors
	requests []string // but for the page itself
}

// view is what the page is shown on.
type view struct {
	width, height int64
	dark          bool
}

// open opens a report of the runs.
func open(t *testing.T, v view, runs ...*result.Run) *page {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	file, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, report.Write(file, "A report", runs))
	require.NoError(t, file.Close())

	tab, closeTab := chromedp.NewContext(browser)
	t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(tab, patience)
	t.Cleanup(cancel)
	address := "file://" + path
	p := &page{t: t, ctx: ctx, allowed: []string{address}}
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch event := event.(type) {
		case *runtime.EventConsoleAPICalled:
			for _, arg := range event.Args {
				p.complain(fmt.Sprintf("%s: %s %s", event.Type, arg.Value, arg.Description))
			}
		case *runtime.EventExceptionThrown:
			p.complain(fmt.Sprintf("%+v", event.ExceptionDetails))
		case *log.EventEntryAdded:
			p.complain(event.Entry.Text)
		case *network.EventRequestWillBeSent:
			if url := event.Request.URL; !slices.Contains(p.allowed, url) && !strings.HasPrefix(url, "data:") && !strings.HasPrefix(url, "blob:") {
				p.requests = append(p.requests, url)
			}
		}
	}))
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	p.size(v.width, v.height)
	p.scheme(v.dark)
	p.do(chromedp.Navigate(address), chromedp.WaitReady(chromedp.CSS(`html[data-ready="true"]`)))
	return p
}

func (p *page) size(width, height int64) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height))
}

// scheme is what the system prefers.
func (p *page) scheme(dark bool) {
	p.t.Helper()
	value := "light"
	if dark {
		value = "dark"
	}
	p.media("", &emulation.MediaFeature{Name: "prefers-color-scheme", Value: value})
}

func (p *page) media(kind string, features ...*emulation.MediaFeature) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: kind, Features: features})
	require.NoError(p.t, err)
}

// eval runs a script, which may return a promise, and returns what it comes to.
func eval[T any](p *page, script string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	require.NoError(p.t, err, script)
	return value
}

// eventually waits for a script to return true. Pages work in turns of their own.
func eventually(p *page, script string) {
	p.t.Helper()
	_, err := chromedp.Run(p.ctx, chromedp.Poll[bool](script))
	require.NoError(p.t, err, script)
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	require.NoError(p.t, chromedp.Do(p.ctx, steps...))
}

func (p *page) allow(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allowed = append(p.allowed, address)
}

func (p *page) complain(message string) {
	// The tests look at pixels, which readers do not.
	if !strings.Contains(message, "operations using getImageData") {
		p.messages = append(p.messages, message)
	}
}

// requireQuiet wants a page that has asked for nothing and complained of nothing.
func (p *page) requireQuiet() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Empty(p.t, p.messages)
	require.Empty(p.t, p.requests)
}
