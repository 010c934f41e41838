package watch

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/strand-net/strand/bench/result"
)

// largeRSS is the resident memory from which on smaps_rollup is read only if it must be: the kernel walks all page tables of the process
// for it, which takes about 10 ms for a GiB, and holds a lock that page faults may need.
const largeRSS = 1 << 30

// system is what Linux adds.
type system struct {
	proc     string            // directory of the process
	switches map[string]counts // of each thread, as last seen
	gone     counts            // of threads that have ended
}

// counts are a thread's context switches.
type counts struct{ voluntary, involuntary int64 }

func (w *Process) open(pid int) error {
	w.proc = filepath.Join("/proc", strconv.Itoa(pid))
	w.switches = make(map[string]counts)
	return nil
}

func (w *Process) look(s *result.Sample, exact bool) error {
	if err := w.portable(s); err != nil {
		return err
	}
	s.Descriptors = w.descriptors()
	if err := w.countSwitches(s); err != nil {
		return err
	}
	if sockstat, err := os.ReadFile(filepath.Join(w.proc, "net/sockstat")); err == nil {
		s.TCPMemory = tcpPages(sockstat) * int64(os.Getpagesize())
	}
	if exact || s.RSS < largeRSS {
		// It is another user's secret: whoever may not read it has none.
		if rollup, err := os.ReadFile(filepath.Join(w.proc, "smaps_rollup")); err == nil {
			s.PSS = field(rollup, "Pss:") * 1024
		}
	}
	return nil
}

// descriptors tells how many are open; 0 if that may not be known. Since Linux 6.2 the directory's size says so, without a list of them.
func (w *Process) descriptors() int {
	dir := filepath.Join(w.proc, "fd")
	if info, err := os.Stat(dir); err == nil && info.Size() > 0 {
		return int(info.Size())
	}
	f, err := os.Open(dir)
	if err != nil {
		return 0
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return 0
	}
	return len(names)
}

// countSwitches adds up those of all threads: /proc/PID/status has those of the first one alone (proc(5)). Of a thread that has ended it
// knows what it had when it was last seen.
func (w *Process) countSwitches(s *result.Sample) error {
	tasks, err := os.ReadDir(filepath.Join(w.proc, "task"))
	if err != nil {
		return err
	}
	now := make(map[string]counts, len(tasks))
	sum := w.gone
	for _, task := range tasks {
		status, err := os.ReadFile(filepath.Join(w.proc, "task", task.Name(), "status"))
		if err != nil {
			continue // it has ended: below
		}
		c := counts{field(status, "voluntary_ctxt_switches:"), field(status, "nonvoluntary_ctxt_switches:")}
		now[task.Name()] = c
		sum.add(c)
	}
	for id, last := range w.switches {
		if c, there := now[id]; !there || c.voluntary < last.voluntary { // fewer: another thread has got its number
			w.gone.add(last)
			sum.add(last)
		}
	}
	w.switches = now
	s.VoluntarySwitches, s.InvoluntarySwitches = sum.voluntary, sum.involuntary
	return nil
}

func (c *counts) add(other counts) {
	c.voluntary += other.voluntary
	c.involuntary += other.involuntary
}

// field returns the number after a name at the begin of a line, as in /proc/PID/status; 0 if there is none.
func field(text []byte, name string) int64 {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(name))
		if !ok {
			continue
		}
		words := bytes.Fields(rest)
		if len(words) == 0 {
			return 0
		}
		n, err := strconv.ParseInt(string(words[0]), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}

// tcpPages returns the memory of all TCP sockets of the machine from /proc/net/sockstat, in pages.
func tcpPages(sockstat []byte) int64 {
	for line := range bytes.Lines(sockstat) {
		words := strings.Fields(string(line))
		if len(words) == 0 || words[0] != "TCP:" {
			continue
		}
		for i := 1; i+1 < len(words); i += 2 {
			if words[i] == "mem" {
				n, _ := strconv.ParseInt(words[i+1], 10, 64)
				return n
			}
		}
	}
	return 0
}
