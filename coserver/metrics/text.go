package metrics

import (
	"bufio"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes families in the text format of Prometheus, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Families of the same name become one; they must have the same
// labels and the same kind.
func Write(w io.Writer, families ...Family) error {
	buffer := bufio.NewWriter(w)
	written := make(map[string]bool)
	for i, f := range families {
		if written[f.Name] {
			continue
		}
		written[f.Name] = true
		buffer.WriteString("# HELP " + f.Name + " " + helpEscapes.Replace(f.Help) + "\n# TYPE " + f.Name + " " + f.Kind.String() + "\n")
		for _, other := range families[i:] {
			if other.Name == f.Name {
				for _, s := range other.Samples {
					writeSample(buffer, other, s)
				}
			}
		}
	}
	return buffer.Flush() // it has the first error of all
}

var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	valueEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func writeSample(w *bufio.Writer, f Family, s Sample) {
	if f.Kind != Histogram {
		writeLine(w, f.Name, f.Labels, s.Labels, "", number(s.Value))
		return
	}
	for _, b := range s.Buckets {
		writeLine(w, f.Name+"_bucket", f.Labels, s.Labels, number(b.Limit), strconv.FormatUint(b.Count, 10))
	}
	count := strconv.FormatUint(s.Count, 10)
	writeLine(w, f.Name+"_bucket", f.Labels, s.Labels, "+Inf", count)
	writeLine(w, f.Name+"_sum", f.Labels, s.Labels, "", number(s.Value))
	writeLine(w, f.Name+"_count", f.Labels, s.Labels, "", count)
}

// writeLine writes one sample; le is the value of a bucket's own label, or empty.
func writeLine(w *bufio.Writer, name string, labels, values []string, le, value string) {
	w.WriteString(name)
	separator := "{"
	for i, label := range labels {
		w.WriteString(separator + label + `="` + valueEscapes.Replace(values[i]) + `"`)
		separator = ","
	}
	if le != "" {
		w.WriteString(separator + `le="` + le + `"`)
		separator = ","
	}
	if separator == "," {
		w.WriteString("}")
	}
	w.WriteString(" " + value + "\n")
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// Handler answers each request with what collect returns then, in the text format. collect may be called by several goroutines at
// the same time.
func Handler(collect func() []Family) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ContentType)
		_ = Write(w, collect()...) // a client that is gone is no error of ours
	})
}
