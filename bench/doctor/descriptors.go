package doctor

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// spareDescriptors are what a process has open besides its connections.
const spareDescriptors = 32

// descriptors looks at how many a process, and the machine, may have open.
func (e *examination) descriptors() {
	conns := divideUp(e.Conns, e.Processes)
	need := conns + spareDescriptors
	name := "open files, hard limit (RLIMIT_NOFILE)"
	if _, hard, ok := e.openFiles("self"); !ok {
		e.missing(name)
	} else {
		f := Finding{Name: name, Value: limit(hard), Wanted: fmt.Sprint(need), Level: when(hard < need, Bad),
			Why: fmt.Sprintf("a process with %d connections has %d files open", conns, need),
			Fix: fmt.Sprintf("as root: prlimit --pid $$ --nofile=%d:%d; to stay: echo '* - nofile %d' >> /etc/security/limits.conf, or LimitNOFILE=%d of a systemd unit", need, need, need, need)}
		if nrOpen, ok := e.sysctl("fs.nr_open", 1); ok && nrOpen[0] < need {
			f.Fix = "as root: " + setSysctl("fs.nr_open", need) + "; then " + f.Fix
		}
		if hard > spareDescriptors {
			f.Fix += fmt.Sprintf("; or share the connections among %d processes at each end", divideUp(e.Conns, hard-spareDescriptors))
		}
		e.add(f)
	}
	name = "open files, soft limit (ulimit -n)"
	if soft, _, ok := e.openFiles(strconv.Itoa(e.Parent)); !ok {
		e.missing(name)
	} else {
		e.add(Finding{Name: name, Value: limit(soft), Wanted: fmt.Sprint(need), Level: when(soft < need, Note),
			Why: "a Go program raises its own to the hard limit; a server in another language may not",
			Fix: fmt.Sprintf("ulimit -n %d", need)})
	}
	most, ok := e.sysctl("fs.file-max", 1)
	if !ok {
		e.missing("fs.file-max")
		return
	}
	used := 0
	if now, ok := e.sysctl("fs.file-nr", 3); ok {
		used = now[0]
	}
	all := used + (e.Conns+e.Processes*spareDescriptors)*e.ends()
	e.add(Finding{Name: "fs.file-max", Value: fmt.Sprint(most[0]), Wanted: fmt.Sprint(all), Level: when(most[0] < all, Bad),
		Why: fmt.Sprintf("%d files are open on the machine now", used), Fix: setSysctl("fs.file-max", all)})
}

// openFiles reads the limits of a process (proc(5)).
func (e *examination) openFiles(pid string) (soft, hard int, ok bool) {
	text, _ := e.text("proc/" + pid + "/limits")
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, "Max open files")
		words := strings.Fields(rest)
		if !found || len(words) < 2 {
			continue
		}
		soft, softOK := parseLimit(words[0])
		hard, hardOK := parseLimit(words[1])
		return soft, hard, softOK && hardOK
	}
	return 0, 0, false
}

func parseLimit(word string) (int, bool) {
	if word == "unlimited" {
		return math.MaxInt, true
	}
	n, err := strconv.Atoi(word)
	return n, err == nil
}

func limit(n int) string {
	if n == math.MaxInt {
		return "unlimited"
	}
	return fmt.Sprint(n)
}
