package result

import (
	"slices"
	"strings"
)

// identity is what makes two servers that shards have watched one and the same.
type identity struct {
	host, name string
	pid        int
}

func (s *Server) identity() identity { return identity{s.Host, s.Name, s.PID} }

// watchers are the shards that have watched a server, by server, in the order in which the servers were first watched.
func (m *merger) watchers() [][]*Run {
	var all [][]*Run
	for _, s := range m.shards {
		if s.Server == nil {
			continue
		}
		i := slices.IndexFunc(all, func(runs []*Run) bool { return runs[0].Server.identity() == s.Server.identity() })
		if i < 0 {
			i = len(all)
			all = append(all, nil)
		}
		all[i] = append(all[i], s)
	}
	return all
}

// later is a sample of a shard at its time in the run.
func (m *merger) later(s *Run, sample Sample) Sample {
	sample.At += m.offset(s)
	return sample
}

// servers makes one server of those that were watched: of one that several shards have watched, it takes the first look before
// the load and the last one after it; of several, the sums.
func (m *merger) servers() {
	var before, idle, begin, end []seen
	var merged *Server
	var names []string
	for _, watchers := range m.watchers() {
		first := watchers[0].Server
		if merged == nil {
			merged = &Server{Host: first.Host, PID: first.PID}
		} else {
			merged.PID = 0
			if merged.Host != first.Host {
				merged.Host = ""
			}
		}
		if !slices.Contains(names, first.Name) {
			names = append(names, first.Name)
		}
		one := Server{Before: m.later(watchers[0], first.Before), Idle: m.later(watchers[0], first.Idle),
			Begin: m.later(watchers[0], first.Begin), End: m.later(watchers[0], first.End)}
		for _, w := range watchers {
			one.Before = earlier(one.Before, m.later(w, w.Server.Before))
			one.Idle = latest(one.Idle, m.later(w, w.Server.Idle))
			one.Begin = earlier(one.Begin, m.later(w, w.Server.Begin))
			one.End = latest(one.End, m.later(w, w.Server.End))
			one.MaxRSS = max(one.MaxRSS, w.Server.MaxRSS)
		}
		before, idle = append(before, seen{first, one.Before}), append(idle, seen{first, one.Idle})
		begin, end = append(begin, seen{first, one.Begin}), append(end, seen{first, one.End})
		merged.MaxRSS += one.MaxRSS
	}
	if merged == nil {
		return
	}
	merged.Name = strings.Join(names, ", ")
	merged.Before, merged.Idle = *sumOfSamples(before), *sumOfSamples(idle)
	merged.Begin, merged.End = *sumOfSamples(begin), *sumOfSamples(end)
	m.run.Server = merged
}

func earlier(a, b Sample) Sample {
	if b.At < a.At {
		return b
	}
	return a
}

func latest(a, b Sample) Sample {
	if b.At > a.At {
		return b
	}
	return a
}

// seen is one look at a server. The server is nil if the shard does not say which it was.
type seen struct {
	server *Server
	sample Sample
}

// sumOfSamples adds up looks at several servers at about the same time. Only the first at each server counts, and only the first at each
// machine's memory for TCP. It returns nil for none.
func sumOfSamples(all []seen) *Sample {
	var sum *Sample
	servers := make(map[identity]bool)
	hosts := make(map[string]bool)
	for _, one := range all {
		var who identity
		if one.server != nil {
			who = one.server.identity()
		}
		if servers[who] {
			continue
		}
		servers[who] = true
		s := one.sample
		if hosts[who.host] {
			s.TCPMemory = 0
		}
		hosts[who.host] = true
		if sum == nil {
			if s.Runtime != nil {
				runtime := *s.Runtime
				s.Runtime = &runtime
			}
			sum = &s
			continue
		}
		sum.add(&s)
	}
	return sum
}

func (s *Sample) add(other *Sample) {
	s.CPUUser += other.CPUUser
	s.CPUSystem += other.CPUSystem
	s.VoluntarySwitches += other.VoluntarySwitches
	s.InvoluntarySwitches += other.InvoluntarySwitches
	s.Threads += other.Threads
	s.RSS += other.RSS
	s.PSS += other.PSS
	s.TCPMemory += other.TCPMemory
	s.Descriptors += other.Descriptors
	switch {
	case other.Runtime == nil:
	case s.Runtime == nil:
		runtime := *other.Runtime
		s.Runtime = &runtime
	default:
		r, o := s.Runtime, other.Runtime
		r.Heap += o.Heap
		r.Stack += o.Stack
		r.Goroutines += o.Goroutines
		r.GCCycles += o.GCCycles
		r.GCPauses += o.GCPauses
		r.GCMaxPause = max(r.GCMaxPause, o.GCMaxPause)
		r.GCCPU += o.GCCPU
	}
}
