package load

import (
	"math/rand/v2"
	"slices"
)

// plan says when operations of one thread are to begin, and on which of its connections. It depends on nothing but the options: what
// the server or the generator does never moves a planned start.
type plan struct {
	pace   string
	begin  int64   // kernel time of the first, ns
	gap    float64 // mean distance of two operations of this thread, ns
	curve  *curve  // instead, of all threads; or nil
	scale  float64 // how many operations of all one of this thread's is
	stage  int     // of the curve
	conns  int
	random *rand.Rand

	count int64 // of the operation at hand
	at    int64 // when it is to begin
	conn  int   // where, from first on
	first int
	kind  uint8 // of what begins

	since  float64     // poisson: how many operations evenly spread would be before it; constant: before the first
	phases []planPhase // uniform: one round, in the order of their times
}

type planPhase struct {
	at   float64 // from the begin of a round, in gaps
	conn int
}

// newPlan is that of one thread with conns connections and rate operations a second. shift, from 0 to 1, is how much of a gap it begins later,
// so that threads do not act in step.
func newPlan(pace string, rate float64, conns int, shift float64, random *rand.Rand) *plan {
	p := &plan{pace: pace, gap: 1e9 / rate, conns: conns, random: random}
	switch pace {
	case PaceConstant:
		p.since = shift
	case PaceUniform:
		p.phases = make([]planPhase, conns)
		for i := range p.phases {
			p.phases[i] = planPhase{random.Float64() * float64(conns), i}
		}
		slices.SortFunc(p.phases, func(a, b planPhase) int {
			if a.at < b.at {
				return -1
			}
			return 1
		})
	}
	return p
}

// newStagedPlan is newPlan for the share of a curve that conns of all connections that are at work have.
func newStagedPlan(pace string, c *curve, conns, all int, shift float64, random *rand.Rand) *plan {
	p := newPlan(pace, 1, conns, shift, random)
	p.curve, p.scale = c, float64(all)/float64(conns)
	return p
}

// start sets when the first operation may begin.
func (p *plan) start(begin int64) {
	p.begin, p.count = begin, -1
	p.advance()
}

// when is the kernel time at which n operations have begun, if they are evenly spread.
func (p *plan) when(n float64) int64 {
	if p.curve != nil {
		return p.begin + p.curve.when(n*p.scale, &p.stage)
	}
	return p.begin + int64(n*p.gap)
}

// advance goes to the next operation.
func (p *plan) advance() {
	p.count++
	switch p.pace {
	case PaceConstant:
		// Not a sum, which would gather errors.
		p.at = p.when(p.since + float64(p.count))
		p.conn = int(p.count % int64(p.conns))
	case PacePoisson:
		p.since += p.random.ExpFloat64()
		p.at = p.when(p.since)
		p.conn = p.random.IntN(p.conns)
	case PaceUniform:
		round, i := p.count/int64(p.conns), p.count%int64(p.conns)
		phase := &p.phases[i]
		p.at = p.when(float64(round*int64(p.conns)) + phase.at)
		p.conn = phase.conn
	}
}
