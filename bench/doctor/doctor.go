// Package doctor tells whether a machine can hold a load of many connections, and what would have to be changed: limits, sysctls,
// processors, memory. It reads what Linux says of itself, and changes nothing.
package doctor

import (
	"errors"
	"fmt"
	"io/fs"
)

// Level says what a finding means for the load.
type Level string

const (
	OK   Level = "ok"
	Note Level = "note" // it may disturb a measurement, or bears upon other loads
	Bad  Level = "bad"  // the load will fail by it
)

// Finding is one thing that was looked at.
type Finding struct {
	Level  Level  `json:"level"`
	Name   string `json:"name"`             // "net.core.somaxconn"
	Value  string `json:"value"`            // as it is; "unknown" if it cannot be found out
	Wanted string `json:"wanted,omitempty"` // as it should be, if that can be said
	Why    string `json:"why,omitempty"`    // what it means, unless all is well
	Fix    string `json:"fix,omitempty"`    // a command, or what else to do
}

// Side is which ends of the connections are on this machine.
type Side string

const (
	Server Side = "server"
	Client Side = "client"
	Both   Side = "both"
)

// Options are the load that is asked for.
type Options struct {
	Conns        int  // connections at the same time
	Side         Side // empty means Both
	Processes    int  // that share the connections, at each end; 0 means 1
	Sources      int  // addresses that the client connects from; 0 means 1
	Destinations int  // addresses and ports that it connects to; 0 means 1
}

// System is the machine, as far as it is not in files.
type System struct {
	Root       fs.FS // of its file system, of which /proc and /sys are read
	PageSize   int
	Parent     int               // process id of the shell: its limits are those that other programs would start with
	GOMAXPROCS int               // of this process
	Env        map[string]string // GOGC, GOMEMLIMIT and GOMAXPROCS, as far as they are set
}

// Report is the outcome.
type Report struct {
	Conns    int       `json:"conns"`
	Side     Side      `json:"side"`
	OK       bool      `json:"ok"` // nothing is Bad
	Findings []Finding `json:"findings"`
}

// Examine looks at a machine. The error is one of the options.
func Examine(s System, o Options) (*Report, error) {
	if o.Side == "" {
		o.Side = Both
	}
	if o.Processes == 0 {
		o.Processes = 1
	}
	if o.Sources == 0 {
		o.Sources = 1
	}
	if o.Destinations == 0 {
		o.Destinations = 1
	}
	const most = 100_000_000
	switch {
	case o.Side != Server && o.Side != Client && o.Side != Both:
		return nil, fmt.Errorf("side: unknown side %q (there are: %s, %s, %s)", o.Side, Server, Client, Both)
	case o.Conns < 1 || o.Conns > most:
		return nil, fmt.Errorf("conns: %d is not from 1 to %d", o.Conns, most)
	case o.Processes < 1 || o.Processes > most:
		return nil, fmt.Errorf("processes: %d is not from 1 to %d", o.Processes, most)
	case o.Sources < 1 || o.Sources > most:
		return nil, fmt.Errorf("sources: %d is not from 1 to %d", o.Sources, most)
	case o.Destinations < 1 || o.Destinations > most:
		return nil, fmt.Errorf("destinations: %d is not from 1 to %d", o.Destinations, most)
	}
	if _, err := fs.Stat(s.Root, "proc/sys/net"); err != nil {
		return nil, fmt.Errorf("the machine cannot be examined: %w (%w)", errors.ErrUnsupported, err)
	}
	e := &examination{System: s, Options: o, report: Report{Conns: o.Conns, Side: o.Side, OK: true}}
	e.descriptors()
	e.memory()
	e.listening()
	e.ports()
	e.conntrack()
	e.network()
	e.processors()
	e.quota()
	e.clock()
	e.collector()
	return &e.report, nil
}

// examination is one under way.
type examination struct {
	System
	Options
	report Report
}

func (e *examination) add(f Finding) {
	if f.Level == "" {
		f.Level = OK
	}
	if f.Level == OK {
		f.Why, f.Fix = "", ""
	}
	if f.Level == Bad {
		e.report.OK = false
	}
	e.report.Findings = append(e.report.Findings, f)
}

// ends is how many ends of each connection are on this machine.
func (e *examination) ends() int {
	if e.Side == Both {
		return 2
	}
	return 1
}

// when is the level of what may be wrong.
func when(wrong bool, level Level) Level {
	if wrong {
		return level
	}
	return OK
}
