package bench

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Names of the scenarios, which are also the protocols that the servers must speak.
const (
	scenarioEcho = "echo"
	scenarioLine = "line"

	scenarioLength = "length"

	// scenarioUDPEcho is datagrams that come back, as many of each peer on their way as a batch has.
	scenarioUDPEcho = "udp-echo"
)

// maxLine is the longest line that the demo servers take, its newline included, in bytes.
const maxLine = 4096

// Options describe a comparison. Every field must be set, but for Scenario and Report.
type Options struct {
	Engines  []string      // in the order of the table; ratios are to "net", or else to the first
	Conns    []int         // the echo scenario runs at each of these
	Size     int           // bytes of a message
	Pipeline int           // messages of a batch in the line and length scenarios
	Duration time.Duration // measured time of each run
	Rounds   int           // how often each engine runs in each scenario
	Scenario string        // "echo", "line", "length" or "udp-echo"; empty means the first two

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
	case !slices.Contains([]string{"", scenarioEcho, scenarioLine, scenarioLength, scenarioUDPEcho}, o.Scenario):
		return fmt.Errorf("scenario: unknown scenario %q (there are: %s, %s, %s, %s)", o.Scenario, scenarioEcho, scenarioLine, scenarioLength, scenarioUDPEcho)
	case (o.Scenario == "" || o.Scenario == scenarioLine) && o.Size > maxLine:
		return fmt.Errorf("size: a line of %d bytes is over %d", o.Size, maxLine)
	}
	for i, engine := range o.Engines {
		if slices.Contains(o.Engines[:i], engine) {
			return fmt.Errorf("engines: %s is named twice", engine)
		}
	}
	for _, s := range o.scenarios() {
		load := o.load(s)
		if err := load.validate(); err != nil {
			return err
		}
		if s.Name == scenarioUDPEcho {
			if err := load.validateUDP(); err != nil {
				return err
			}
			continue // its peers share one socket
		}
		if err := checkDescriptors(s.Conns); err != nil {
			return err
		}
	}
	return nil
}

// base is the engine that the others are compared with.
func (o *Options) base() string {
	if slices.Contains(o.Engines, "net") {
		return "net"
	}
	return o.Engines[0]
}

// load is the run of one server in scenario s.
func (o *Options) load(s Scenario) LoadOptions {
	return LoadOptions{
		Conns:    s.Conns,
		Size:     s.Size,
		Pipeline: s.Pipeline,
		Lines:    s.Name == scenarioLine,
		Framed:   s.Name == scenarioLength,
		Settle:   min(o.Duration/8, 250*time.Millisecond),
		Warmup:   min(o.Duration/4, time.Second),
		Window:   o.Duration,
	}
}

// estimate is how long a run takes, with the child's start and end.
func (o *Options) estimate() time.Duration {
	load := o.load(Scenario{})
	return load.Settle + load.Warmup + load.Window + 60*time.Millisecond
}

// spareDescriptors are what a process has open besides its connections: standard files, pollers, /proc, libraries.
const spareDescriptors = 32

func checkDescriptors(conns int) error {
	if limit, limited := descriptorLimit(); limited && uint64(conns)+spareDescriptors > limit {
		return fmt.Errorf("conns: %d connections need %d file descriptors, but only %d are allowed (raise it: ulimit -n %d)",
			conns, conns+spareDescriptors, limit, conns+spareDescriptors)
	}
	return nil
}
