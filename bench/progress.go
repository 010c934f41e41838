package bench

import (
	"fmt"
	"io"
	"time"
)

// Progress shows the steps of a comparison, at most once a second: on a terminal as one line that changes, elsewhere as
// plain lines. It is written to between runs only, never while something is measured.
type Progress struct {
	Out      io.Writer
	Terminal bool

	last  time.Time
	shown bool // a line is on the terminal, without its end
}

// Show is for Options.Report.
func (p *Progress) Show(s Step) {
	if time.Since(p.last) < time.Second {
		return
	}
	p.last = time.Now()
	text := fmt.Sprintf("run %d of %d, about %v left: %s, %v", s.Number, s.Of, s.Left.Round(time.Second), s.Engine, s.Scenario)
	if !p.Terminal {
		fmt.Fprintln(p.Out, text)
		return
	}
	p.shown = true
	fmt.Fprint(p.Out, "\r\x1b[K", text)
}

// Done clears the line.
func (p *Progress) Done() {
	if p.shown {
		fmt.Fprint(p.Out, "\r\x1b[K")
	}
}
