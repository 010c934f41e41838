package load

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Stage is a stretch of an open loop with a rate of its own, and a window of the result. If From and To differ the rate goes from one to the other evenly.
type Stage struct {
	From, To float64 // planned operations a second, over all connections
	Duration time.Duration
}

// String is what ParseStage reads: RATE:DURATION or FROM-TO:DURATION.
func (s Stage) String() string {
	text := rateText(s.From)
	if s.To != s.From {
		text += "-" + rateText(s.To)
	}
	return text + ":" + s.Duration.String()
}

func rateText(rate float64) string { return strconv.FormatFloat(rate, 'f', -1, 64) }

// ParseStage reads one: 1000:10s, or 1000-4000:30s for a rate that goes evenly from one to the other.
func ParseStage(text string) (s Stage, err error) {
	rates, duration, ok := strings.Cut(text, ":")
	if !ok {
		return s, fmt.Errorf("%q is not RATE:DURATION or FROM-TO:DURATION", text)
	}
	if s.Duration, err = time.ParseDuration(duration); err != nil {
		return s, fmt.Errorf("%q has no duration such as 10s", text)
	}
	from, to, ramp := strings.Cut(rates, "-")
	if !ramp {
		to = from
	}
	var err1, err2 error
	s.From, err1 = strconv.ParseFloat(from, 64)
	s.To, err2 = strconv.ParseFloat(to, 64)
	if err := errors.Join(err1, err2); err != nil {
		return s, fmt.Errorf("%q has no rate such as 1000 or 1000-4000", text)
	}
	return s, s.validate()
}

// MarshalText is String.
func (s Stage) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseStage.
func (s *Stage) UnmarshalText(text []byte) (err error) {
	*s, err = ParseStage(string(text))
	return err
}

// Bounds of stages: so many, as each has figures of its own.
const (
	maxStages = 1000
	minStage  = time.Millisecond
)

func (s Stage) validate() error {
	rate := func(r float64) bool { return r >= 0 && r <= math.MaxInt32 }
	switch {
	case !rate(s.From) || !rate(s.To) || s.From+s.To == 0:
		return fmt.Errorf("stage %v: a rate is more than 0 and at most %d operations a second; only one end of a ramp may be 0", s, math.MaxInt32)
	case s.Duration < minStage || s.Duration > 1000*time.Hour:
		return fmt.Errorf("stage %v: it is not between %v and 1000 hours long", s, minStage)
	}
	return nil
}

// operations is how many are planned in the first t of the stage.
func (s Stage) operations(t time.Duration) float64 {
	seconds, whole := t.Seconds(), s.Duration.Seconds()
	return s.From*seconds + (s.To-s.From)*seconds*seconds/(2*whole)
}

// after is how long it takes until n operations are planned: the inverse of operations.
func (s Stage) after(n float64) float64 {
	if n <= 0 {
		return 0
	}
	// Of the forms of a square root's solution the one that subtracts nothing, and knows a rate that does not change.
	return 2 * n / (s.From + math.Sqrt(max(0, s.From*s.From+2*(s.To-s.From)*n/s.Duration.Seconds())))
}

// validateStages checks o as it was given: what stages say cannot be said again.
func (o *Options) validateStages() error {
	switch {
	case len(o.Stages) == 0:
		return nil
	case len(o.Stages) > maxStages:
		return fmt.Errorf("stages: %d are more than %d", len(o.Stages), maxStages)
	case o.Rate != 0:
		return errors.New("rate: stages have their own")
	case o.Window != 0:
		return errors.New("duration: stages have their own")
	case o.Windows != 0:
		return errors.New("windows: each stage is one")
	case o.Pace == PaceClosed || o.Pace == PaceMax:
		return fmt.Errorf("stages: pace %s has no rate", o.Pace)
	case o.Workload == WorkloadPush:
		return fmt.Errorf("stages: workload %s has none, for it is the server that sends", o.Workload)
	}
	for _, s := range o.Stages {
		if err := s.validate(); err != nil {
			return fmt.Errorf("stages: %w", err)
		}
	}
	return nil
}

// windows are how long the windows are, in their order.
func (o *Options) windows() (all []time.Duration) {
	for _, s := range o.Stages {
		all = append(all, s.Duration)
	}
	for len(o.Stages) == 0 && len(all) < o.Windows {
		all = append(all, o.Window)
	}
	return all
}

// measured is how long all windows are together.
func (o *Options) measured() (sum time.Duration) {
	for _, length := range o.windows() {
		sum += length
	}
	return sum
}

// planned is how many operations are planned between two times since the begin of the first window, which may be before it: in the warm-up the rate is that
// with which the first window begins.
func (o *Options) planned(from, to time.Duration) (n float64) {
	if len(o.Stages) == 0 {
		return o.Rate * (to - from).Seconds()
	}
	if from < 0 {
		n += o.Stages[0].From * (min(to, 0) - from).Seconds()
		from = 0
	}
	for _, s := range o.Stages {
		if from < to {
			n += s.operations(min(to, s.Duration)) - s.operations(min(from, s.Duration))
		}
		from, to = max(from-s.Duration, 0), to-s.Duration
	}
	return n
}

// rateText says for people what is planned.
func (o *Options) rateText() string {
	switch stages := o.Stages; {
	case len(stages) == 0:
		return rateText(o.Rate) + "/s"
	case len(stages) == 1 && stages[0].From != stages[0].To:
		return rateText(stages[0].From) + " to " + rateText(stages[0].To) + "/s"
	case len(stages) == 1:
		return rateText(stages[0].From) + "/s"
	default:
		return fmt.Sprintf("%s to %s/s in %d stages", rateText(stages[0].From), rateText(stages[len(stages)-1].To), len(stages))
	}
}

// curve is how many operations are planned by when, from the begin of the warm-up on.
type curve struct {
	stages []Stage
	begins []int64   // of each stage, and the end of the last; ns
	counts []float64 // planned until then
}

func newCurve(o *Options) *curve {
	c := &curve{begins: []int64{0}, counts: []float64{0}}
	add := func(s Stage) {
		last := len(c.stages)
		c.stages = append(c.stages, s)
		c.begins = append(c.begins, c.begins[last]+int64(s.Duration))
		c.counts = append(c.counts, c.counts[last]+s.operations(s.Duration))
	}
	if o.Warmup > 0 {
		add(Stage{o.Stages[0].From, o.Stages[0].From, o.Warmup})
	}
	for _, s := range o.Stages {
		add(s)
	}
	return c
}

// when is the time of operation n, in ns since the begin; for one after the last stage, the end. stage, where the one before was, only grows. What is planned in a stage is
// within it to the nanosecond, however it is rounded.
func (c *curve) when(n float64, stage *int) int64 {
	for *stage < len(c.stages) && n >= c.counts[*stage+1] {
		*stage++
	}
	if *stage == len(c.stages) {
		return c.begins[*stage]
	}
	s := &c.stages[*stage]
	return c.begins[*stage] + min(int64(1e9*s.after(n-c.counts[*stage])), int64(s.Duration)-1)
}
