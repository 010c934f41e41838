// Package bench compares the engines of strand with package net: each in a process of its own, under the load of package load. It knows
// the servers by their addresses only.
package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/watch"
)

// Names of the scenarios, which are also the protocols that the servers must speak.
const (
	scenarioEcho = "echo"
	scenarioLine = "line"

	scenarioLength = "length"

	// scenarioUDPEcho is datagrams that come back: its connections are peers.
	scenarioUDPEcho = "udp-echo"
)

// maxLine is the longest line that the demo servers take, its newline included, in bytes.
const maxLine = 4096

// maxBatch bounds SIZE x PIPELINE, in bytes.
const maxBatch = 1 << 20

// Options describe a comparison. Every field must be set, but for Scenarios, Speaks, ServerCPUs and Report. Every combination of the lists is run.
type Options struct {
	Engines   []string      // in the order of the table; ratios are to "net", or else to the first
	Conns     []int         // the echo scenario runs at each of these
	Sizes     []int         // bytes of a message
	Pipelines []int         // messages of a batch in the line and length scenarios
	Depths    []int         // batches in flight on a connection, in the echo and sink scenarios; of udp-echo, datagrams of a peer
	Duration  time.Duration // measured time of each run
	Rounds    int           // how often each engine runs in each scenario
	Scenarios []string      // of those that there are; none means echo and line

	// Speaks tells whether an engine has a protocol. It takes part only in scenarios of those that it has; nil means that all have all.
	Speaks func(engine, proto string) bool

	ServerCPUs watch.CPUs // processors that servers may use; empty means any
	// Command says how to start a server of that engine and protocol: see StartChild.
	Command func(engine, proto string) (program string, args []string)
	// Report is told what is being done, before each run; nil if nobody wants to know.
	Report func(Step)
}

// Step is one run of a comparison, about to start.
type Step struct {
	Number, Of int // runs are counted from 1
	Round      int // from 1
	Scenario   Scenario
	Engine     string
	Left       time.Duration // estimate for this and all that follow
}

// Validate reports the first field that cannot be used, or what the machine lacks for it.
func (o *Options) Validate() error {
	switch {
	case len(o.Engines) == 0:
		return errors.New("engines: none")
	case len(o.Conns) == 0:
		return errors.New("conns: none")
	case o.Rounds < 1:
		return fmt.Errorf("rounds: %d is less than 1", o.Rounds)
	case len(o.Sizes) == 0:
		return errors.New("size: none")
	case len(o.Pipelines) == 0:
		return errors.New("pipeline: none")
	case len(o.Depths) == 0:
		return errors.New("depth: none")
	}
	for i, name := range o.Scenarios {
		switch {
		case !slices.Contains(Scenarios(), name):
			return fmt.Errorf("scenario: unknown scenario %q (there are: %s)", name, strings.Join(Scenarios(), ", "))
		case slices.Contains(o.Scenarios[:i], name):
			return fmt.Errorf("scenario: %s is named twice", name)
		}
	}
	for _, name := range o.names() {
		switch {
		case name == scenarioLine && slices.Max(o.Sizes) > maxLine:
			return fmt.Errorf("size: a line of %d bytes is over %d", slices.Max(o.Sizes), maxLine)
		case !slices.Contains(o.engines(name), o.base()):
			return fmt.Errorf("scenario: engine %s, which the others are compared with, has no protocol %s", o.base(), Proto(name))
		}
	}
	for i, engine := range o.Engines {
		if slices.Contains(o.Engines[:i], engine) {
			return fmt.Errorf("engines: %s is named twice", engine)
		}
	}
	for _, s := range o.scenarios() {
		switch {
		case s.Conns < 1:
			return fmt.Errorf("conns: %d is less than 1", s.Conns)
		case s.Size < 1:
			return fmt.Errorf("size: %d is less than 1", s.Size)
		case s.Pipeline < 1:
			return fmt.Errorf("pipeline: %d is less than 1", s.Pipeline)
		case s.Depth < 1:
			return fmt.Errorf("depth: %d is less than 1", s.Depth)
		case s.Size > maxBatch/s.Pipeline:
			return fmt.Errorf("size: a batch of %d messages of %d bytes is over %d bytes", s.Pipeline, s.Size, maxBatch)
		case o.Duration <= 0:
			return fmt.Errorf("duration: %v is not positive", o.Duration)
		}
		options := o.load(s)
		options.Addr = "127.0.0.1:1" // not known yet
		if err := options.Validate(); err != nil {
			return err
		}
		if err := options.CheckDescriptors(); err != nil {
			return err
		}
	}
	return nil
}

// names are those of the scenarios.
func (o *Options) names() []string {
	if len(o.Scenarios) == 0 {
		return []string{scenarioEcho, scenarioLine}
	}
	return o.Scenarios
}

// engines are those that take part in the scenario of that name.
func (o *Options) engines(name string) (all []string) {
	for _, engine := range o.Engines {
		if o.Speaks == nil || o.Speaks(engine, Proto(name)) {
			all = append(all, engine)
		}
	}
	return all
}

// base is the engine that the others are compared with.
func (o *Options) base() string {
	if slices.Contains(o.Engines, "net") {
		return "net"
	}
	return o.Engines[0]
}

// stall is how long a connection may wait for a byte before a comparison fails.
const stall = 5 * time.Second

// load is the run of one server in scenario s: a closed loop, in which each connection keeps its batches of messages in flight. All
// faults end it. Server and client share the machine, so how busy the client is says nothing against it.
func (o *Options) load(s Scenario) load.Options {
	network := "tcp"
	if s.Name == scenarioUDPEcho {
		network = "udp"
	}
	framing := map[string]string{scenarioLine: load.FramingLine, scenarioLength: load.FramingLength}[s.Name]
	return load.Options{
		Network:  network,
		Workload: s.workload(),
		Conns:    s.Conns,
		Depth:    s.Depth,
		Size:     load.FixedSize(s.Size),
		Batch:    s.Pipeline,
		Framing:  framing,
		Settle:   min(o.Duration/8, 250*time.Millisecond),
		Warmup:   min(o.Duration/4, time.Second),
		Window:   o.Duration,
		Stall:    stall,
		Drain:    2 * stall,
		FailFast: true,
	}
}

// estimate is how long a run takes, with the child's start and end.
func (o *Options) estimate() time.Duration {
	load := o.load(Scenario{})
	return load.Settle + load.Warmup + load.Window + 60*time.Millisecond
}
