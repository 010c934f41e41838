// Package result is what a load run leaves: its figures, histograms and surroundings, the files that they are kept in, and
// how the results of several processes become one.
package result

import (
	"encoding/json"
	"time"
)

// SchemaVersion changes when a reader of the JSON would have to.
const SchemaVersion = 2

// Tags of runs that are compared.
const (
	TagRound = "round" // which repetition of the same measurement it is
	TagSide  = "side"  // which side of a comparison of two
)

// Run is one run of the load generator, and the format of its JSON file. Times are in seconds and sizes in bytes where the names do not
// say otherwise; latencies are in nanoseconds.
type Run struct {
	SchemaVersion int               `json:"schema_version"`
	ID            string            `json:"id"`    // the same for all shards of a run
	Name          string            `json:"name"`  // what was run, for people: "echo, 100 connections, 64 B"
	Begin         time.Time         `json:"begin"` // of the first window
	Config        json.RawMessage   `json:"config"`
	ConfigHash    string            `json:"config_hash"` // SHA-256 of Config, which has nothing that differs between shards
	Shard         Shard             `json:"shard"`
	Tags          map[string]string `json:"tags,omitempty"`
	Machine       Machine           `json:"machine"`
	Machines      []Machine         `json:"machines,omitempty"` // all, of a run whose shards ran on several

	Target     float64               `json:"target_per_s,omitempty"` // planned operations a second, over all windows; 0 if the loop was closed
	Connect    Connect               `json:"connect"`
	Windows    []Window              `json:"windows"`
	Intervals  []Interval            `json:"intervals"` // a second each, over all windows and the warm-up before them
	Operations map[string]*Operation `json:"operations"`
	Check      Check                 `json:"check"`
	Receipt    *Receipt              `json:"receipt,omitempty"`   // nil if the server does not say what it has received
	Errors     map[string]int64      `json:"errors,omitempty"`    // by kind, such as "connection reset"
	Faults     []string              `json:"faults,omitempty"`    // the first of them in words, with their connections
	Server     *Server               `json:"server,omitempty"`    // nil if nobody watched it
	Unwatched  string                `json:"unwatched,omitempty"` // why nobody did, although it is on the machine
	Generator  Generator             `json:"generator"`

	// Interrupted says that somebody ended the run before its time: its last window is a shorter one, and others may be missing.
	Interrupted bool `json:"interrupted,omitempty"`
	// Invalid says why the figures must not be believed. It is empty for a run that may be.
	Invalid []string `json:"invalid,omitempty"`
	// SLO is what was demanded, and what became of it.
	SLO []Objective `json:"slo,omitempty"`
}

// Shard says which part of a run this is: from 1 to Of. 0 of 0 is a run that was put together from all its shards.
type Shard struct {
	Index int `json:"index"`
	Of    int `json:"of"`
}

// Connect is how the connections came about.
type Connect struct {
	Wanted  int        `json:"wanted"`
	Made    int        `json:"made"`
	Failed  int        `json:"failed"`
	Seconds float64    `json:"seconds"`
	Latency *Histogram `json:"latency"` // of one connect each, its TLS handshake included
}

// Window is one measured stretch of time.
type Window struct {
	Begin      float64 `json:"begin"` // since the begin of the first one
	Seconds    float64 `json:"seconds"`
	Operations int64   `json:"operations"`
	Messages   int64   `json:"messages"`
	BytesOut   int64   `json:"bytes_out"`
	BytesIn    int64   `json:"bytes_in"`
	Errors     int64   `json:"errors"`
	Target     float64 `json:"target_per_s,omitempty"` // planned operations a second in it, which may change within it; 0 if the loop was closed

	// Latencies are those of Response, over all operations that ended in the window, or for the last one in the drain.
	P50  int64 `json:"p50_ns,omitempty"`
	P90  int64 `json:"p90_ns,omitempty"`
	P99  int64 `json:"p99_ns,omitempty"`
	P999 int64 `json:"p999_ns,omitempty"`
	Max  int64 `json:"max_ns,omitempty"`

	// Latency is the same as that of an Interval.
	Latency string `json:"latency_hdr,omitempty"`

	// CPU of the server within the window; 0 if nobody watched it.
	CPUUser   float64 `json:"server_cpu_user"`
	CPUSystem float64 `json:"server_cpu_system"`
}

// SetLatency sets the percentiles and the maximum to those of h.
func (w *Window) SetLatency(h *Histogram) {
	s := h.Summary()
	w.P50, w.P90, w.P99, w.P999, w.Max = s.P50, s.P90, s.P99, s.P999, s.Max
}

// Interval is one second, for charts. Latencies are those of Response, over all operations.
type Interval struct {
	Begin    float64 `json:"begin"` // since the begin of the first window; negative in the warm-up
	Seconds  float64 `json:"seconds"`
	Target   float64 `json:"target_per_s"` // planned operations a second in it, 0 for none
	Rate     float64 `json:"per_s"`        // operations that were completed, a second
	Errors   int64   `json:"errors"`
	P50      int64   `json:"p50_ns"`
	P90      int64   `json:"p90_ns"`
	P99      int64   `json:"p99_ns"`
	P999     int64   `json:"p999_ns"`
	Max      int64   `json:"max_ns"`
	Conns    int     `json:"connections"`
	InFlight int     `json:"in_flight"`

	// Latency is the histogram of this second in its compressed form (Histogram.Compress), so that what shards of a run took can be put
	// together. A run of one shard does without.
	Latency string `json:"latency_hdr,omitempty"`

	Server *Sample `json:"server,omitempty"`
}

// SetLatency sets the percentiles and the maximum to those of h.
func (i *Interval) SetLatency(h *Histogram) {
	s := h.Summary()
	i.P50, i.P90, i.P99, i.P999, i.Max = s.P50, s.P90, s.P99, s.P999, s.Max
}

// Operation is what one kind of exchange took. In a closed loop the planned start is the start, and Lag is empty.
type Operation struct {
	Count    int64 `json:"count"`    // of those that were planned, or in a closed loop began, within the windows
	Censored int64 `json:"censored"` // of them, those without an answer when the drain ended, or a datagram of theirs was lost: they count as having taken until then

	Response *Histogram `json:"response"` // from planned start to end
	Service  *Histogram `json:"service"`  // from start to end
	Lag      *Histogram `json:"lag"`      // from planned start to start
}

// Check is what the check of the payload found. All but Checked and Late are faults of whatever is between the generator's ends; but those that UDP may have
// are figures.
type Check struct {
	Checked    int64 `json:"checked"`
	Lost       int64 `json:"lost"`
	Reordered  int64 `json:"reordered"`
	Duplicated int64 `json:"duplicated"`
	Corrupt    int64 `json:"corrupt"`

	Datagrams bool  `json:"datagrams,omitempty"` // each message was a datagram of UDP, which may be lost, come twice or in another order
	Late      int64 `json:"late,omitempty"`      // of the lost ones: their answers came, but too late
}

// Add adds what another part of the same run found.
func (c *Check) Add(more *Check) {
	c.Checked += more.Checked
	c.Lost += more.Lost
	c.Reordered += more.Reordered
	c.Duplicated += more.Duplicated
	c.Corrupt += more.Corrupt
	c.Datagrams = c.Datagrams || more.Datagrams
	c.Late += more.Late
}

// Faults is how many messages were not as they have to be.
func (c *Check) Faults() int64 {
	if c.Datagrams {
		return c.Corrupt
	}
	return c.Lost + c.Reordered + c.Duplicated + c.Corrupt
}

// Receipt is what the server says that it has received, from the first connection on to the end of the drain.
type Receipt struct {
	Streams int     `json:"streams"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"` // by its own clock
}

// Generator says how near the generator came to its own limits.
type Generator struct {
	CPUUser   float64 `json:"cpu_user"`
	CPUSystem float64 `json:"cpu_system"`
	Threads   int     `json:"threads"` // that drive connections
	Busiest   float64 `json:"busiest"` // share of the time that the busiest of them was not waiting, 0 to 1; of the stage in which that was most
	MaxRSS    int64   `json:"max_rss"`

	// Of an open loop: by how much the generator itself was late, at the 99th percentile, and the share of the planned operations that it has
	// taken up before the windows were over. Of a run in stages both are those of the worst stage, which is over when the next begins.
	Late     int64   `json:"late_p99_ns,omitempty"`
	Achieved float64 `json:"achieved,omitempty"`
}

// Objective is a condition that a run was to fulfil.
type Objective struct {
	Expression string  `json:"expression"` // as it was given: "p99<5ms"
	Value      float64 `json:"value"`      // what its left side came to, in the unit of the right one
	OK         bool    `json:"ok"`
	Reason     string  `json:"reason,omitempty"` // why the value is not known, and the objective not kept
}
