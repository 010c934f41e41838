package bench

import (
	"fmt"
	"slices"
)

// Scenario is one kind of load that all engines are put under.
type Scenario struct {
	Name     string `json:"name"` // "echo", "line" or "length", which is also the protocol
	Conns    int    `json:"conns"`
	Size     int    `json:"size_bytes"`
	Pipeline int    `json:"pipeline"`
}

func (s Scenario) String() string {
	text := fmt.Sprintf("%s, %s, %d B", s.Name, plural(s.Conns, "connection"), s.Size)
	if s.Pipeline > 1 {
		text += fmt.Sprintf(", %d messages a batch", s.Pipeline)
	}
	return text
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// pipelinedConns is how many connections the pipelined scenario has, unless all others have fewer.
const pipelinedConns = 100

// scenarios are echo at every number of connections, and pipelined lines at one; or messages with a length, or datagrams at every number of peers, if these are
// asked for.
func (o *Options) scenarios() []Scenario {
	var all []Scenario
	if o.Scenario == scenarioUDPEcho {
		for _, peers := range o.Conns {
			all = append(all, Scenario{scenarioUDPEcho, peers, o.Size, o.Pipeline})
		}
		return all
	}
	if o.Scenario == "" || o.Scenario == scenarioEcho {
		for _, conns := range o.Conns {
			all = append(all, Scenario{scenarioEcho, conns, o.Size, 1})
		}
	}
	if o.Scenario != scenarioEcho {
		name := scenarioLine
		if o.Scenario != "" {
			name = o.Scenario
		}
		all = append(all, Scenario{name, min(pipelinedConns, slices.Max(o.Conns)), o.Size, o.Pipeline})
	}
	return all
}
