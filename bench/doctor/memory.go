package doctor

import (
	"fmt"
	"math"
	"strconv"
)

// perEnd is what an idle connection takes at one end, in kernel and program, in bytes: what was measured is 3.5 to 5 KiB with package
// net, and each has a buffer in use now and then.
const perEnd = 8 << 10

// memory looks at whether the connections have room.
func (e *examination) memory() {
	need := e.Conns * e.ends() * perEnd
	text, _ := e.text("proc/meminfo")
	if kib, ok := field(text, "MemAvailable:"); !ok {
		e.missing("memory that is available")
	} else {
		e.add(Finding{Name: "memory that is available", Value: bytes(kib << 10), Wanted: bytes(need), Level: when(kib<<10 < need, Bad),
			Why: fmt.Sprintf("each connection takes about %s at each end", bytes(perEnd)), Fix: "stop other programs, take fewer connections, or put the ends on two machines"})
	}
	if least, where, ok := e.least(e.memoryLimit); ok {
		e.add(Finding{Name: "memory limit of cgroup " + where, Value: bytes(int(least)), Wanted: bytes(need), Level: when(int(least) < need, Bad),
			Why: "the kernel ends a process that goes over it", Fix: "raise the container's memory limit (docker run --memory, resources.limits.memory)"})
	}
	limits, ok := e.sysctl("net.ipv4.tcp_mem", 3)
	if !ok {
		e.missing("net.ipv4.tcp_mem")
		return
	}
	// One page of data on its way at each end.
	pages := e.Conns * e.ends()
	e.add(Finding{Name: "net.ipv4.tcp_mem (pages: low, pressure, high)", Value: fmt.Sprint(limits[0], " ", limits[1], " ", limits[2]),
		Wanted: fmt.Sprintf("pressure of %d", pages), Level: when(limits[1] < pages, Bad),
		Why: "with a page of data at each end, TCP would be under memory pressure: windows shrink, and over high, data is dropped",
		Fix: setSysctl("net.ipv4.tcp_mem", pages*3/4, pages, pages*3/2)})
	for _, name := range []string{"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"} {
		sizes, ok := e.sysctl(name, 3)
		if !ok {
			e.missing(name)
			continue
		}
		room := limits[2] * e.PageSize
		most := room / (e.Conns * e.ends())
		e.add(Finding{Name: name + " (bytes: least, default, most)", Value: fmt.Sprint(sizes[0], " ", sizes[1], " ", sizes[2]),
			Level: when(sizes[1] > most, Note),
			Why:   fmt.Sprintf("if every peer were slow, buffers of the default size would need more than tcp_mem has (%s)", bytes(room)),
			Fix:   setSysctl(name, min(sizes[0], 4096), max(4096, min(sizes[1], most)), sizes[2])})
	}
}

// memoryLimit is the one of a cgroup, in bytes.
func (e *examination) memoryLimit(dir string, unified bool) (float64, bool) {
	name := "memory.max"
	if !unified {
		name = "memory.limit_in_bytes"
	}
	text, _ := e.text(dir + "/" + name)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n >= math.MaxInt64/2 { // "max", or as much as there is no machine with
		return 0, false
	}
	return float64(n), true
}
