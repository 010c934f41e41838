package load

import "github.com/strand-net/strand/bench/result"

// segment is what one worker saw between two cuts of the timeline. It belongs to the worker until it is handed over.
type segment struct {
	worker int
	index  int   // of the cut that ends it
	from   int64 // operations that were planned before are not in the histograms

	response, service, lags, late *result.Histogram // the last three only in an open loop

	operations, messages int64
	censored             int64
	bytesOut, bytesIn    int64
	arrived              int64 // taken from the plan
	waited               int64 // ns that the worker had nothing to do
	elapsed              int64 // ns
	conns, inFlight      int   // at its end
	check                result.Check
	errors               map[string]int64
	faults               []string
}

// maxFaults is how many faults are told in words.
const maxFaults = 10

func newSegment(open bool) *segment {
	s := &segment{response: result.NewHistogram()}
	if open {
		s.service, s.lags, s.late = result.NewHistogram(), result.NewHistogram(), result.NewHistogram()
	}
	return s
}

// reset makes s like new, but for the memory of its histograms.
func (s *segment) reset() {
	for _, h := range []*result.Histogram{s.response, s.service, s.lags, s.late} {
		if h != nil {
			h.Reset()
		}
	}
	*s = segment{response: s.response, service: s.service, lags: s.lags, late: s.late}
}

// done counts the times of an operation that has ended.
func (s *segment) done(now, planned, begun int64) {
	if planned < s.from {
		return
	}
	s.response.Record(now - planned)
	if s.service != nil {
		s.service.Record(now - begun)
	}
}

func (s *segment) lag(lag, planned int64) {
	if planned >= s.from {
		s.lags.Record(lag)
	}
}

// arrive counts an operation that the plan has had for planned, and that is taken up now.
func (s *segment) arrive(now, planned int64) {
	s.arrived++
	if planned >= s.from {
		s.late.Record(now - planned)
	}
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
