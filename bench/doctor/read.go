package doctor

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

const unknown = "unknown"

// text returns a file's content without the space around it.
func (e *examination) text(path string) (string, bool) {
	raw, err := fs.ReadFile(e.Root, path)
	return strings.TrimSpace(string(raw)), err == nil
}

// sysctl returns the numbers of one. It is Unknown, as a finding, if there is none or it has fewer than n.
func (e *examination) sysctl(name string, n int) ([]int, bool) {
	text, ok := e.text("proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	words := strings.Fields(text)
	if !ok || len(words) < n {
		return nil, false
	}
	numbers := make([]int, len(words))
	for i, word := range words {
		var err error
		if numbers[i], err = strconv.Atoi(word); err != nil {
			return nil, false
		}
	}
	return numbers, true
}

// missing notes that something is not known.
func (e *examination) missing(name string) { e.add(Finding{Name: name, Value: unknown}) }

// setSysctl is the command that sets one.
func setSysctl(name string, values ...int) string {
	value := strings.Trim(fmt.Sprint(values), "[]")
	if len(values) > 1 {
		value = `"` + value + `"`
	}
	return fmt.Sprintf("sysctl -w %s=%s", name, value)
}

// field returns the first number on the line that begins with name.
func field(text, name string) (int, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			words := strings.Fields(rest)
			if len(words) == 0 {
				return 0, false
			}
			n, err := strconv.Atoi(words[0])
			return n, err == nil
		}
	}
	return 0, false
}

// bytes writes a size for people.
func bytes(n int) string {
	for _, unit := range []struct {
		name  string
		shift int
	}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n >= 1<<unit.shift {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(int(1)<<unit.shift), unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// divideUp is a/b, rounded up.
func divideUp(a, b int) int { return (a + b - 1) / b }
