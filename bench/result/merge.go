package result

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// MaxSkew is how far apart the shards of a run may begin: their seconds would not be the same ones.
const MaxSkew = time.Second

// Merge makes one run of all its shards, in any order. Histograms are added up without loss, so percentiles are those that one process would
// have found; counters are summed; windows go together by their index and intervals by their second; of a server that several
// shards have watched, nothing counts twice. What one shard calls invalid is invalid, and if one was interrupted, so was the run. The objectives of the shards are judged anew.
// It refuses runs that do not belong together, with an error that says which and why. It does not change them.
func Merge(runs []*Run) (*Run, error) {
	shards, err := inOrder(runs)
	if err != nil {
		return nil, err
	}
	first := shards[0]
	earliest := slices.MinFunc(shards, func(a, b *Run) int { return a.Begin.Compare(b.Begin) })
	for _, s := range shards {
		if skew := s.Begin.Sub(earliest.Begin); skew > MaxSkew {
			return nil, fmt.Errorf("shard %d began %v after shard %d, and %v is the most", s.Shard.Index, skew, earliest.Shard.Index, MaxSkew)
		}
		if err := first.belongsTo(s); err != nil {
			return nil, fmt.Errorf("shard %d does not go with shard %d: %w", s.Shard.Index, first.Shard.Index, err)
		}
	}
	m := &merger{shards: shards, run: &Run{
		SchemaVersion: SchemaVersion,
		ID:            first.ID,
		Name:          first.Name,
		Begin:         earliest.Begin,
		Config:        first.Config,
		ConfigHash:    first.ConfigHash,
		Operations:    make(map[string]*Operation),
	}}
	m.surroundings()
	m.counters()
	m.servers()
	for _, step := range []func() error{m.windows, m.connects, m.operations, m.intervals, m.objectives} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return m.run, nil
}

// inOrder returns all shards of a run by their index, if none is missing and none is there twice.
func inOrder(runs []*Run) ([]*Run, error) {
	if len(runs) == 0 {
		return nil, errors.New("there is no run to merge")
	}
	var shards []Shard
	for _, r := range runs {
		if r.SchemaVersion != SchemaVersion {
			return nil, fmt.Errorf("shard %d has schema version %d, and only %d can be merged", r.Shard.Index, r.SchemaVersion, SchemaVersion)
		}
		shards = append(shards, r.Shard)
	}
	if err := checkShards(shards); err != nil {
		return nil, err
	}
	return slices.SortedFunc(slices.Values(runs), func(a, b *Run) int { return a.Shard.Index - b.Shard.Index }), nil
}

// checkShards says what keeps these from being all shards of one run, each once.
func checkShards(shards []Shard) error {
	shards = slices.SortedFunc(slices.Values(shards), func(a, b Shard) int { return a.Index - b.Index })
	of := shards[0].Of
	var missing []string
	next := 1
	for i, s := range shards {
		switch {
		case s == Shard{}:
			return errors.New("one is no shard: it has been merged already")
		case s.Of != of:
			return fmt.Errorf("shard %d is one of %d, and shard %d one of %d", shards[0].Index, of, s.Index, s.Of)
		case s.Index < 1 || s.Index > s.Of:
			return fmt.Errorf("shard %d of %d does not exist", s.Index, s.Of)
		case i > 0 && s == shards[i-1]:
			return fmt.Errorf("shard %d of %d is there twice", s.Index, of)
		}
		missing = appendNumbers(missing, next, s.Index)
		next = s.Index + 1
	}
	if missing = appendNumbers(missing, next, of+1); len(missing) > 0 {
		return fmt.Errorf("of %d shards these are missing: %s", of, strings.Join(missing, ", "))
	}
	return nil
}

// appendNumbers appends those from begin to before end, as one range if they are many.
func appendNumbers(all []string, begin, end int) []string {
	switch end - begin {
	case 0:
		return all
	case 1:
		return append(all, fmt.Sprint(begin))
	}
	return append(all, fmt.Sprintf("%d to %d", begin, end-1))
}

// belongsTo says why s is not a shard of the same run.
func (r *Run) belongsTo(s *Run) error {
	for _, property := range []struct{ name, a, b string }{
		{"run ID", r.ID, s.ID},
		{"config hash", r.ConfigHash, s.ConfigHash},
		{"version", r.Machine.build(), s.Machine.build()},
	} {
		if property.a != property.b {
			return fmt.Errorf("%s %q is not %q", property.name, property.b, property.a)
		}
	}
	if len(s.Windows) != len(r.Windows) && !r.Interrupted && !s.Interrupted { // each may end in another window then
		return fmt.Errorf("it has %d windows, not %d", len(s.Windows), len(r.Windows))
	}
	return nil
}

// build is what must be the same for shards to have measured by the same rules.
func (m *Machine) build() string {
	text := m.Version
	if m.Revision != "" {
		text += " " + m.Revision
	}
	if m.Modified {
		text += " modified"
	}
	return text
}

type merger struct {
	shards []*Run // in order
	run    *Run
}

// offset is what is added to times since the begin of a shard, for times since the begin of the run.
func (m *merger) offset(s *Run) float64 { return s.Begin.Sub(m.run.Begin).Seconds() }

// surroundings are where it ran, what it is called and what spoils it.
func (m *merger) surroundings() {
	tags := make(map[string][]string)
	for _, s := range m.shards {
		for name, value := range s.Tags {
			if !slices.Contains(tags[name], value) {
				tags[name] = append(tags[name], value)
			}
		}
		m.run.Interrupted = m.run.Interrupted || s.Interrupted
		m.run.Unwatched = cmp.Or(m.run.Unwatched, s.Unwatched)
		for _, reason := range s.Invalid {
			m.run.Invalid = append(m.run.Invalid, fmt.Sprintf("shard %d: %s", s.Shard.Index, reason))
		}
	}
	for name, values := range tags {
		if m.run.Tags == nil {
			m.run.Tags = make(map[string]string)
		}
		m.run.Tags[name] = strings.Join(values, ",")
	}

	var machines []Machine
	for _, s := range m.shards {
		i := slices.IndexFunc(machines, func(known Machine) bool { return known.same(&s.Machine) })
		if i < 0 {
			machines = append(machines, s.Machine)
			continue
		}
		machines[i].Steal = max(machines[i].Steal, s.Machine.Steal)
	}
	m.run.Machine = machines[0]
	if len(machines) > 1 {
		m.run.Machines = machines
	}
}

func (m *merger) counters() {
	for i, s := range m.shards {
		m.run.Target += s.Target
		m.run.Check.Add(&s.Check)
		if from := s.Receipt; from != nil {
			if m.run.Receipt == nil {
				m.run.Receipt = new(Receipt)
			}
			into := m.run.Receipt
			into.Streams += from.Streams
			into.Bytes += from.Bytes
			into.Seconds = max(into.Seconds, from.Seconds)
		}
		for kind, n := range s.Errors {
			if m.run.Errors == nil {
				m.run.Errors = make(map[string]int64)
			}
			m.run.Errors[kind] += n
		}
		g := &m.run.Generator
		g.CPUUser += s.Generator.CPUUser
		g.CPUSystem += s.Generator.CPUSystem
		g.Threads += s.Generator.Threads
		g.Busiest = max(g.Busiest, s.Generator.Busiest)
		g.MaxRSS += s.Generator.MaxRSS
		g.Late = max(g.Late, s.Generator.Late) // percentiles cannot be added up: it is an upper bound
		if i == 0 || s.Generator.Achieved < g.Achieved {
			g.Achieved = s.Generator.Achieved
		}
		m.run.Faults = append(m.run.Faults, s.Faults...)
	}
}

// windows go together by their index. One begins with the first of the shards, and is as long as the longest.
func (m *merger) windows() error {
	most := slices.MaxFunc(m.shards, func(a, b *Run) int { return len(a.Windows) - len(b.Windows) })
	for i := range most.Windows {
		merged := Window{Begin: math.Inf(1)}
		latency := NewHistogram()
		complete := true // the percentiles of all together can be known
		for _, s := range m.shards {
			if i >= len(s.Windows) {
				continue
			}
			w := s.Windows[i]
			merged.Target += w.Target
			merged.Max = max(merged.Max, w.Max)
			if w.Latency == "" {
				complete = complete && w.Max == 0 // nothing was recorded
			} else if err := latency.addCompressed(w.Latency); err != nil {
				return fmt.Errorf("shard %d: window %d: %w", s.Shard.Index, i+1, err)
			}
			merged.Begin = min(merged.Begin, w.Begin+m.offset(s))
			merged.Seconds = max(merged.Seconds, w.Seconds)
			merged.Operations += w.Operations
			merged.Messages += w.Messages
			merged.BytesOut += w.BytesOut
			merged.BytesIn += w.BytesIn
			merged.Errors += w.Errors
		}
		for _, watchers := range m.watchers() {
			// All of them have seen the same, within slightly different times.
			var user, system float64
			for _, s := range watchers {
				if i >= len(s.Windows) {
					continue
				}
				user, system = max(user, s.Windows[i].CPUUser), max(system, s.Windows[i].CPUSystem)
			}
			merged.CPUUser += user
			merged.CPUSystem += system
		}
		switch {
		case len(m.shards) == 1:
			w := m.shards[0].Windows[i]
			merged.P50, merged.P90, merged.P99, merged.P999 = w.P50, w.P90, w.P99, w.P999
		case complete && !latency.empty():
			merged.SetLatency(latency)
		}
		m.run.Windows = append(m.run.Windows, merged)
	}
	return nil
}

// addCompressed adds what Compress has made of another.
func (h *Histogram) addCompressed(text string) error {
	other, err := Decompress(text)
	if err == nil {
		err = h.Add(other)
	}
	return err
}

func (m *merger) connects() error {
	merged := &m.run.Connect
	merged.Latency = NewHistogram()
	for _, s := range m.shards {
		merged.Wanted += s.Connect.Wanted
		merged.Made += s.Connect.Made
		merged.Failed += s.Connect.Failed
		merged.Seconds = max(merged.Seconds, s.Connect.Seconds)
		if err := merged.Latency.Add(s.Connect.Latency); err != nil {
			return fmt.Errorf("shard %d: connect: %w", s.Shard.Index, err)
		}
	}
	return nil
}

func (m *merger) operations() error {
	for _, s := range m.shards {
		for name, from := range s.Operations {
			into := m.run.Operations[name]
			if into == nil {
				into = &Operation{Response: NewHistogram(), Service: NewHistogram(), Lag: NewHistogram()}
				m.run.Operations[name] = into
			}
			into.Count += from.Count
			into.Censored += from.Censored
			sums := into.histograms()
			for i, k := range from.histograms() {
				if err := (*sums[i].of).Add(*k.of); err != nil {
					return fmt.Errorf("shard %d: operation %q: %s: %w", s.Shard.Index, name, k.name, err)
				}
			}
		}
	}
	return nil
}

// early is how much too early an interval may begin, in seconds, and still belong to its own second.
const early = 0.1

// intervals go together by the second in which they begin, so that not all shards must have the same.
func (m *merger) intervals() error {
	bySecond := make(map[int][]part)
	for _, s := range m.shards {
		for i := range s.Intervals {
			second := secondOf(time.Duration(s.Intervals[i].Begin * float64(time.Second)))
			bySecond[second] = append(bySecond[second], part{s, &s.Intervals[i]})
		}
	}
	for _, second := range slices.Sorted(maps.Keys(bySecond)) {
		merged, err := m.interval(bySecond[second])
		if err != nil {
			return err
		}
		m.run.Intervals = append(m.run.Intervals, merged)
	}
	return nil
}

// part is what one shard did in a second.
type part struct {
	shard    *Run
	interval *Interval
}

func (m *merger) interval(parts []part) (Interval, error) {
	merged := Interval{Begin: math.Inf(1)}
	latency := NewHistogram()
	complete := true // the percentiles of all together can be known
	var samples []seen
	for _, p := range parts {
		i := p.interval
		merged.Begin = min(merged.Begin, i.Begin+m.offset(p.shard))
		merged.Seconds = max(merged.Seconds, i.Seconds)
		merged.Target += i.Target
		merged.Rate += i.Rate
		merged.Errors += i.Errors
		merged.Max = max(merged.Max, i.Max)
		merged.Conns += i.Conns
		merged.InFlight += i.InFlight
		if i.Server != nil {
			samples = append(samples, seen{p.shard.Server, m.later(p.shard, *i.Server)})
		}
		if i.Latency == "" {
			complete = complete && i.Max == 0 // nothing was recorded
			continue
		}
		if err := latency.addCompressed(i.Latency); err != nil {
			return Interval{}, fmt.Errorf("shard %d: interval at %v s: %w", p.shard.Shard.Index, i.Begin, err)
		}
	}
	switch {
	case len(parts) == 1:
		i := parts[0].interval
		merged.P50, merged.P90, merged.P99, merged.P999 = i.P50, i.P90, i.P99, i.P999
	case complete:
		merged.SetLatency(latency)
	}
	merged.Server = sumOfSamples(samples)
	return merged, nil
}

// objectives are those of all shards, each once.
func (m *merger) objectives() error {
	var expressions []string
	for _, s := range m.shards {
		for _, o := range s.SLO {
			if !slices.Contains(expressions, o.Expression) {
				expressions = append(expressions, o.Expression)
			}
		}
	}
	conditions, err := ParseConditions(expressions)
	if err != nil {
		return err
	}
	m.run.Judge(conditions)
	return nil
}
