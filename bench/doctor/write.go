package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// WriteTable writes the findings for people: a line each, and for those that are not well, why and what to do.
func (r *Report) WriteTable(w io.Writer) error {
	var out strings.Builder
	names, values := 0, 0
	for _, f := range r.Findings {
		names, values = max(names, utf8.RuneCountInString(f.Name)), max(values, utf8.RuneCountInString(f.Value))
	}
	for _, f := range r.Findings {
		line := fmt.Sprintf("%-4s  %-*s  %-*s", f.Level, names, f.Name, values, f.Value)
		if f.Wanted != "" {
			line += "  wanted: " + f.Wanted
		}
		fmt.Fprintln(&out, strings.TrimRight(line, " "))
		if f.Why != "" {
			fmt.Fprintf(&out, "      %s\n", f.Why)
		}
		if f.Fix != "" {
			fmt.Fprintf(&out, "      > %s\n", f.Fix)
		}
	}
	answer := "yes"
	if !r.OK {
		answer = "no: see what is bad above"
	}
	fmt.Fprintf(&out, "\nCan this machine hold %d connections (%s)? %s\n", r.Conns, map[Side]string{Server: "their server's end", Client: "their client's end", Both: "both ends"}[r.Side], answer)
	_, err := io.WriteString(w, out.String())
	return err
}
