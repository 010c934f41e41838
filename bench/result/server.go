package result

// Server is what was seen of the server while it was under load.
type Server struct {
	Name string `json:"name"` // what was watched: an engine's name, or a process
	PID  int    `json:"pid"`
	Host string `json:"host,omitempty"` // name of its machine: shards may watch servers of the same PID on several

	Before Sample `json:"before"`  // before the first connection
	Idle   Sample `json:"idle"`    // at the end of settle: all are connected, none has been active
	Begin  Sample `json:"begin"`   // of the first window
	End    Sample `json:"end"`     // of the last one
	MaxRSS int64  `json:"max_rss"` // over all samples
}

// SeenToEnd reports whether what a server has done within the windows is known: one that has died was seen at their begin, and not at their end.
func (s *Server) SeenToEnd() bool { return s.Begin == Sample{} || s.End != Sample{} }

// Sample is one look at a server. A field that could not be found out is 0.
type Sample struct {
	At float64 `json:"at"` // since the begin of the first window

	CPUUser             float64 `json:"cpu_user"`   // seconds since its start
	CPUSystem           float64 `json:"cpu_system"` // the same
	VoluntarySwitches   int64   `json:"voluntary_switches"`
	InvoluntarySwitches int64   `json:"involuntary_switches"`
	Threads             int     `json:"threads"`
	RSS                 int64   `json:"rss"`
	PSS                 int64   `json:"pss"`         // proportional set size (smaps_rollup, proc(5))
	TCPMemory           int64   `json:"tcp_memory"`  // the machine's kernel memory for TCP, both ends (sockstat, proc(5))
	Descriptors         int     `json:"descriptors"` // open ones

	Runtime *Runtime `json:"runtime,omitempty"` // of servers that tell it
}

// Runtime is what a Go server says of itself (runtime/metrics).
type Runtime struct {
	Heap       int64   `json:"heap"`  // bytes of live and not yet swept objects
	Stack      int64   `json:"stack"` // bytes of stacks in use
	Goroutines int     `json:"goroutines"`
	GCCycles   int64   `json:"gc_cycles"`
	GCPauses   float64 `json:"gc_pauses"`      // seconds, all together
	GCMaxPause float64 `json:"gc_max_pause"`   // seconds, upper bound of its bucket
	GCCPU      float64 `json:"gc_cpu_seconds"` // that the collector has used
}
