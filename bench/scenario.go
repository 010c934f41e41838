package bench

import (
	"fmt"
	"slices"

	"github.com/strand-net/strand/bench/load"
)

// Scenario is one kind of load that all engines are put under.
type Scenario struct {
	Name     string `json:"name"` // one of Scenarios
	Conns    int    `json:"conns"`
	Size     int    `json:"size_bytes"`
	Pipeline int    `json:"pipeline"`
	Depth    int    `json:"depth"` // batches in flight on a connection
}

func (s Scenario) String() string {
	who := "connection"
	if s.Name == scenarioUDPEcho {
		who = "peer"
	}
	text := fmt.Sprintf("%s, %s, %d B", s.Name, plural(s.Conns, who), s.Size)
	if s.Pipeline > 1 {
		text += fmt.Sprintf(", %d messages a batch", s.Pipeline)
	}
	if s.Depth > 1 {
		text += fmt.Sprintf(", %d in flight", s.Depth)
	}
	return text
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Scenarios returns the names of those that can be asked for.
func Scenarios() []string {
	return []string{scenarioEcho, scenarioLine, scenarioLength, load.WorkloadChurn, load.WorkloadSink, load.WorkloadPush, load.WorkloadBroadcast,
		scenarioUDPEcho}
}

// Proto is the protocol that a server must speak for the scenario of that name.
func Proto(scenario string) string {
	if scenario == load.WorkloadChurn {
		return scenarioEcho
	}
	return scenario
}

// workload is what the connections do in s.
func (s Scenario) workload() string {
	switch s.Name {
	case scenarioEcho, scenarioLine, scenarioLength, scenarioUDPEcho:
		return load.WorkloadEcho
	}
	return s.Name
}

// operation is the one whose latency is told of s: of a broadcast, that which every connection sees.
func (s Scenario) operation() string {
	if s.Name == load.WorkloadBroadcast {
		return "delivery"
	}
	return s.workload()
}

// pipelinedConns is how many connections the pipelined scenario has, unless all others have fewer.
const pipelinedConns = 100

// scenarios are what is asked for: at every number of connections and size, echo,
// sink and udp-echo also at every depth, and what is pipelined at one number of connections, but with batches of every length.
func (o *Options) scenarios() []Scenario {
	var all []Scenario
	for _, name := range o.names() {
		conns, pipelines, depths := o.Conns, []int{1}, []int{1}
		switch name {
		case scenarioEcho, load.WorkloadSink, scenarioUDPEcho:
			depths = o.Depths
		case scenarioLine, scenarioLength:
			conns, pipelines = []int{min(pipelinedConns, slices.Max(o.Conns))}, o.Pipelines
		}
		for _, conns := range conns {
			for _, size := range o.Sizes {
				for _, pipeline := range pipelines {
					for _, depth := range depths {
						all = append(all, Scenario{name, conns, size, pipeline, depth})
					}
				}
			}
		}
	}
	return all
}
