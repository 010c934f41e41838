package watch

import (
	"fmt"
	"strconv"
	"strings"
)

// CPUs are processors by their numbers, ascending; empty means that a process may use any.
type CPUs []int

// maxCPU bounds the number of a processor: what sched_setaffinity(2) takes by default.
const maxCPU = 1024

// UnmarshalText reads a list as taskset(1) takes it: "0,2-5".
func (c *CPUs) UnmarshalText(text []byte) error {
	var set [maxCPU]bool
	for part := range strings.SplitSeq(string(text), ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		from, err := parseCPU(first)
		if err != nil {
			return fmt.Errorf("processors %q: %w", text, err)
		}
		to, err := parseCPU(last)
		if err == nil && to < from {
			err = fmt.Errorf("%s ends before it begins", part)
		}
		if err != nil {
			return fmt.Errorf("processors %q: %w", text, err)
		}
		for cpu := from; cpu <= to; cpu++ {
			set[cpu] = true
		}
	}
	*c = nil
	for cpu, in := range set {
		if in {
			*c = append(*c, cpu)
		}
	}
	return nil
}

func parseCPU(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n >= maxCPU {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", text, maxCPU-1)
	}
	return n, nil
}

func (c CPUs) String() string {
	var parts []string
	for i := 0; i < len(c); i++ {
		first := c[i]
		for i+1 < len(c) && c[i+1] == c[i]+1 {
			i++
		}
		if c[i] == first {
			parts = append(parts, strconv.Itoa(first))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", first, c[i]))
		}
	}
	return strings.Join(parts, ",")
}

// Overlap returns those that both have.
func (c CPUs) Overlap(other CPUs) CPUs {
	var both CPUs
	for _, cpu := range c {
		for _, another := range other {
			if cpu == another {
				both = append(both, cpu)
			}
		}
	}
	return both
}
