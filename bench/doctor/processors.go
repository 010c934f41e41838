package doctor

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"
)

// processors looks at what makes measurements differ from one another.
func (e *examination) processors() {
	files, _ := fs.Glob(e.Root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
	governors := make(map[string]bool)
	for _, file := range files {
		if governor, ok := e.text(file); ok {
			governors[governor] = true
		}
	}
	name := "frequency governor"
	if len(governors) == 0 {
		e.missing(name)
	} else {
		e.add(Finding{Name: name, Value: strings.Join(slices.Sorted(maps.Keys(governors)), ", "), Wanted: "performance",
			Level: when(len(governors) > 1 || !governors["performance"], Note),
			Why:   "processors change their speed with the load", Fix: "cpupower frequency-set -g performance"})
	}
	name = "SMT"
	if active, ok := e.text("sys/devices/system/cpu/smt/active"); !ok || active != "0" && active != "1" {
		e.missing(name)
	} else {
		siblings, _ := e.text("sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
		e.add(Finding{Name: name, Value: map[string]string{"0": "off", "1": "on"}[active], Level: when(active == "1", Note),
			Why: "two processors share a core, such as " + siblings + ": a client on one slows a server on the other",
			Fix: "give server and client cores of their own (--server-cpus, --client-cpus), or: echo off > /sys/devices/system/cpu/smt/control"})
	}
	name = "virtual machine"
	info, _ := e.text("proc/cpuinfo")
	virtual := false
	for line := range strings.Lines(info) {
		if strings.HasPrefix(line, "flags") && slices.Contains(strings.Fields(line), "hypervisor") {
			virtual = true
		}
	}
	if share, ok := e.steal(); !ok {
		e.missing(name)
	} else if !virtual && share == 0 {
		e.add(Finding{Name: name, Value: "no"})
	} else {
		e.add(Finding{Name: name, Value: fmt.Sprintf("yes, %.1f %% of the time stolen since its start", 100*share), Wanted: "less than 1 % stolen",
			Level: when(share >= 0.01, Note),
			Why:   "the hypervisor gives the processors to others: measure in turns, and compare ratios only", Fix: "use a machine of its own, or dedicated processors"})
	}
}

// steal is the share of the busy time that the hypervisor has taken (proc(5), /proc/stat).
func (e *examination) steal() (float64, bool) {
	text, ok := e.text("proc/stat")
	line, _, _ := strings.Cut(text, "\n")
	var user, nice, system, idle, iowait, irq, softirq, steal float64
	n, _ := fmt.Sscanf(line, "cpu %f %f %f %f %f %f %f %f", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal)
	if !ok || n < 8 {
		return 0, false
	}
	busy := user + nice + system + irq + softirq + steal
	if busy == 0 {
		return 0, true
	}
	return steal / busy, true
}

// quota looks at the CPU quotas of all cgroups above this process. The Go runtime looks at the nearest one alone.
func (e *examination) quota() {
	name := "GOMAXPROCS"
	least, where, ok := e.least(e.cpuQuota)
	if !ok {
		e.add(Finding{Name: name, Value: fmt.Sprintf("%d, no CPU quota", e.GOMAXPROCS)})
		return
	}
	wanted := max(1, int(math.Ceil(least)))
	e.add(Finding{Name: name, Value: fmt.Sprintf("%d, CPU quota %.3g of cgroup %s", e.GOMAXPROCS, least, where), Wanted: fmt.Sprint("at most ", wanted),
		Level: when(e.GOMAXPROCS > wanted, Bad),
		Why:   "threads over the quota are stopped until the next period, up to 100 ms: latencies will show it",
		Fix:   fmt.Sprintf("export GOMAXPROCS=%d, or raise the quota (cpu.max)", wanted)})
}

// cpuQuota is the one of a cgroup, in processors.
func (e *examination) cpuQuota(dir string, unified bool) (float64, bool) {
	var quota, period float64
	if unified {
		text, _ := e.text(dir + "/cpu.max")
		if n, _ := fmt.Sscan(text, &quota, &period); n < 2 {
			return 0, false // "max 100000"
		}
	} else {
		text, _ := e.text(dir + "/cpu.cfs_quota_us")
		if n, _ := fmt.Sscan(text, &quota); n < 1 {
			return 0, false
		}
		text, _ = e.text(dir + "/cpu.cfs_period_us")
		if n, _ := fmt.Sscan(text, &period); n < 1 {
			return 0, false
		}
	}
	if quota <= 0 || period <= 0 {
		return 0, false
	}
	return quota / period, true
}

// clock looks at what it costs to ask for the time.
func (e *examination) clock() {
	const dir = "sys/devices/system/clocksource/clocksource0/"
	name := "clock source"
	current, ok := e.text(dir + "current_clocksource")
	if !ok {
		e.missing(name)
		return
	}
	fast := []string{"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource", "stp", "timebase"}
	available, _ := e.text(dir + "available_clocksource")
	f := Finding{Name: name, Value: current, Wanted: "one that is read without a system call", Level: when(!slices.Contains(fast, current), Note),
		Why: "each look at the time is a system call, two for each message", Fix: "boot with a clock source that the vDSO can read (of: " + available + ")"}
	for _, better := range strings.Fields(available) {
		if slices.Contains(fast, better) {
			f.Fix = "echo " + better + " > /sys/devices/system/clocksource/clocksource0/current_clocksource"
			break
		}
	}
	e.add(f)
}

// collector looks at the settings of Go's garbage collector.
func (e *examination) collector() {
	value := func(name, normally string) string {
		if set, ok := e.Env[name]; ok && set != "" {
			return name + "=" + set
		}
		return name + " not set (" + normally + ")"
	}
	e.add(Finding{Name: "garbage collector", Value: value("GOGC", "100") + ", " + value("GOMEMLIMIT", "none"),
		Level: when(e.Env["GOGC"] == "off" && e.Env["GOMEMLIMIT"] == "", Note),
		Why:   "nothing bounds the heap", Fix: "export GOMEMLIMIT=1GiB, or unset GOGC"})
}
