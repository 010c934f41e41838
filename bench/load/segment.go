package load

import "github.com/strand-net/strand/bench/result"

// segment is what one worker saw between two cuts of the timeline. It belongs to the worker until it is handed over.
type segment struct {
	worker int
	index  int   // of the cut that ends it
	from   int64 // operations that were planned before are not in the histograms

	kinds []kindTimes       // of operations, as Options.kinds has them
	late  *result.Histogram // of the generator itself, behind its plans

	operations, messages int64 // operations of the first kind, and messages of all
	bytesOut, bytesIn    int64
	span                 int     // that it belongs to; -1 for the warm-up, and their number for the drain
	due, overdue         []int64 // by span: taken from the plans, and of these when it was over
	waited               int64   // ns that the worker had nothing to do
	elapsed              int64   // ns
	conns, inFlight      int     // at its end
	check                result.Check
	errors               map[string]int64
	faults               []string
}

// kindTimes is what operations of one kind took.
type kindTimes struct {
	response, service, lag *result.Histogram // the last two only of those that are planned
	censored               int64
}

// maxFaults is how many faults are told in words.
const maxFaults = 10

func newSegment(kinds []kind) *segment {
	s := &segment{kinds: make([]kindTimes, len(kinds)), late: result.NewHistogram(), span: -1}
	for i, k := range kinds {
		s.kinds[i].response = result.NewHistogram()
		if k.planned {
			s.kinds[i].service, s.kinds[i].lag = result.NewHistogram(), result.NewHistogram()
		}
	}
	return s
}

// reset makes s like new, but for the memory of its histograms.
func (s *segment) reset() {
	for i := range s.kinds {
		k := &s.kinds[i]
		k.censored = 0
		k.response.Reset()
		if k.service != nil {
			k.service.Reset()
			k.lag.Reset()
		}
	}
	s.late.Reset()
	clear(s.due)
	clear(s.overdue)
	*s = segment{kinds: s.kinds, late: s.late, span: -1, due: s.due, overdue: s.overdue}
}

// done counts the times of an operation that has ended.
func (s *segment) done(kind uint8, now, planned, begun int64) {
	if planned < s.from {
		return
	}
	k := &s.kinds[kind]
	k.response.Record(now - planned)
	if k.service != nil {
		k.service.Record(now - begun)
	}
}

// censor counts an operation that has no answer, and is waited for no longer.
func (s *segment) censor(kind uint8, now, planned, begun int64) {
	s.done(kind, now, planned, begun)
	if planned >= s.from {
		s.kinds[kind].censored++
	}
}

func (s *segment) begun(kind uint8, now, planned int64) {
	if k := &s.kinds[kind]; k.lag != nil && planned >= s.from {
		k.lag.Record(now - planned)
	}
}

// arrive counts an operation that a plan has had for planned, and that is taken up now.
func (s *segment) arrive(now, planned int64, spans []int64) {
	if planned < s.from {
		return
	}
	s.late.Record(now - planned)
	if s.span < 0 {
		return
	}
	if s.due == nil {
		s.due, s.overdue = make([]int64, len(spans)-1), make([]int64, len(spans)-1)
	}
	span := s.span
	for span > 0 && planned < spans[span] {
		span--
	}
	if span < s.span && now-spans[span+1] > int64(defaultLate) { // what is planned for the last moment is taken up after it
		s.overdue[span]++
	}
	s.due[span]++
}

func (s *segment) failed(kind string, count int64) {
	if s.errors == nil {
		s.errors = make(map[string]int64)
	}
	s.errors[kind] += count
}

func (s *segment) errorCount() (n int64) {
	for _, count := range s.errors {
		n += count
	}
	return n
}
