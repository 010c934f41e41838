// Package metrics gives what a server and an engine count the names that Prometheus would have for them: base units, _total for what
// only grows (https://prometheus.io/docs/practices/naming/). It writes them in the text format that Prometheus reads, without a
// dependency; coserver/prometheus, a module of its own, is for programs that use client_golang.
package metrics

import (
	"strconv"

	"github.com/strand-net/strand/coserver"
)

// Kind is what sort of figure a [Family] is.
type Kind uint8

const (
	Counter   Kind = iota // it only grows
	Gauge                 // it goes up and down
	Histogram             // how many were no larger than some limits, and all together
)

// String returns the name of the kind in the text format.
func (k Kind) String() string { return [...]string{"counter", "gauge", "histogram"}[k] }

// Family is all figures of one name. They differ in their labels.
type Family struct {
	Name, Help string
	Kind       Kind
	Labels     []string // names of the labels that its samples have
	Samples    []Sample
}

// Sample is one figure.
type Sample struct {
	Labels []string // values, in the order of the names
	Value  float64  // of a Histogram, the sum

	Count   uint64 // of a Histogram: how many there were
	Buckets []Bucket
}

// Bucket is how many values were no larger than Limit.
type Bucket struct {
	Limit float64
	Count uint64
}

// OfServer returns the figures of a server, which they call name in their label server.
func OfServer(name string, s coserver.ServerStats) []Family {
	one := func(family, help string, kind Kind, value float64) Family {
		return Family{family, help, kind, []string{"server"}, []Sample{{Labels: []string{name}, Value: value}}}
	}
	by := func(family, help, label string, values ...labelled) Family {
		f := Family{Name: family, Help: help, Kind: Counter, Labels: []string{"server", label}}
		for _, v := range values {
			f.Samples = append(f.Samples, Sample{Labels: []string{name, v.label}, Value: float64(v.value)})
		}
		return f
	}
	return []Family{
		one("strand_server_accepted_connections_total", "Connections that were let in.", Counter, float64(s.Accepted)),
		one("strand_server_connections", "Connections whose handlers have not returned, or whose queues are not sent.", Gauge, float64(s.Active)),
		by("strand_server_refused_connections_total", "Connections that were closed without being served.", "reason",
			labelled{"max_conns", s.Refused.MaxConns}, labelled{"max_conns_per_ip", s.Refused.MaxConnsPerIP},
			labelled{"max_goroutines", s.Refused.MaxGoroutines}, labelled{"shutdown", s.Refused.Shutdown}, labelled{"unwatched", s.Refused.Unwatched}),
		by("strand_server_accept_pauses_total", "How often accepting came to rest, and clients waited in the backlog.", "reason",
			labelled{"max_conns", s.Paused.MaxConns}, labelled{"accept_rate", s.Paused.AcceptRate}, labelled{"descriptors", s.Paused.Descriptors}),
		by("strand_server_timeouts_total", "Waits that took too long.", "limit",
			labelled{"idle", s.TimedOut.Idle}, labelled{"read", s.TimedOut.Read}, labelled{"write", s.TimedOut.Write}, labelled{"handshake", s.TimedOut.Handshake}),
		one("strand_server_queued_bytes", "Bytes that queues of Enqueue hold, as MaxQueuedTotal counts them.", Gauge, float64(s.Queues.Queued)),
		by("strand_server_refused_messages_total", "Messages that Enqueue refused for want of room.", "reason",
			labelled{"max_queued", s.Queues.Refused}, labelled{"max_queued_total", s.Queues.RefusedTotal}),
		by("strand_server_dropped_messages_total", "Messages that were dropped out of queues.", "reason",
			labelled{"drop_oldest", s.Queues.Dropped}, labelled{"connection_ended", s.Queues.Lost}),
		by("strand_server_slow_connections_closed_total", "Connections that were closed because of their queues.", "reason",
			labelled{"cut_slow", s.Queues.Cut}, labelled{"timeout", s.Queues.TimedOut}),
		one("strand_server_handshake_errors_total", "Handshakes that failed, in time or not.", Counter, float64(s.HandshakeErrors)),
		one("strand_server_handler_errors_total", "Handlers that returned an error that was reported.", Counter, float64(s.HandlerErrors)),
		one("strand_server_handler_panics_total", "Handlers that panicked or ended their goroutine.", Counter, float64(s.Panics)),
	}
}

type labelled struct {
	label string
	value uint64
}

// OfEngine returns the figures of an engine, which they call name in their label engine.
func OfEngine(name string, s coserver.Stats) []Family {
	one := func(family, help string, kind Kind, value float64) Family {
		return Family{family, help, kind, []string{"engine"}, []Sample{{Labels: []string{name}, Value: value}}}
	}
	each := func(family, help string, kind Kind, of func(coserver.LoopStats) Sample) Family {
		f := Family{Name: family, Help: help, Kind: kind, Labels: []string{"engine", "loop"}}
		for i, l := range s.Loops {
			sample := of(l)
			sample.Labels = []string{name, strconv.Itoa(i)}
			f.Samples = append(f.Samples, sample)
		}
		return f
	}
	families := []Family{
		one("strand_engine_take_overs_total", "How often a loop went on without a handler that blocked or computed.", Counter, float64(s.TakeOvers)),
		one("strand_engine_handlers_away", "Handlers that were taken over and have not come back.", Gauge, float64(s.Away)),
		one("strand_engine_away_seconds_total", "How long handlers that came back were busy after their loops went on.", Counter, s.AwayFor.Seconds()),
		one("strand_engine_servers_set_apart_total", "How often a server began to run all its handlers on goroutines.", Counter, float64(s.Apart)),
		one("strand_engine_goroutines", "Goroutines of the engine's pool that are busy.", Gauge, float64(s.Goroutines)),
		one("strand_engine_handlers_computing", "Handlers that compute apart from their loops.", Gauge, float64(s.Computing)),
		one("strand_engine_handlers_in_line", "Handlers that wait until they may compute apart from their loops.", Gauge, float64(s.InLine)),
		each("strand_engine_loop_connections", "Connections of a loop.", Gauge, func(l coserver.LoopStats) Sample { return Sample{Value: float64(l.Conns)} }),
		each("strand_engine_loop_turns_total", "How often a loop waited for events.", Counter, func(l coserver.LoopStats) Sample { return Sample{Value: float64(l.Turns)} }),
		each("strand_engine_loop_events_total", "Events that a loop got.", Counter, func(l coserver.LoopStats) Sample { return Sample{Value: float64(l.Events)} }),
		each("strand_engine_loop_ready", "Connections and listeners that had used up their share of a loop's latest turn.", Gauge, func(l coserver.LoopStats) Sample { return Sample{Value: float64(l.Ready)} }),
		each("strand_engine_loop_posted", "Work from elsewhere that a loop has not begun with.", Gauge, func(l coserver.LoopStats) Sample { return Sample{Value: float64(l.Posted)} }),
	}
	if len(s.Loops) > 0 && s.Loops[0].Lag.Within != nil {
		families = append(families, each("strand_engine_loop_lag_seconds", "How late a loop was to begin with what it was given to do.", Histogram, lagOf))
	}
	return families
}

func lagOf(l coserver.LoopStats) Sample {
	s := Sample{Value: l.Lag.Total.Seconds(), Count: l.Lag.Measured}
	for _, b := range l.Lag.Within {
		s.Buckets = append(s.Buckets, Bucket{b.Limit.Seconds(), b.Count})
	}
	return s
}
