// Package search finds the highest rate at which a server still fulfils what is demanded of it. It doubles the rate until that fails, and
// then halves the gap. A run that fails is repeated, for anything may have disturbed it, and the answer is confirmed by further runs, for near
// the limit one may pass by luck.
package search

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/strand-net/strand/bench/result"
)

// Options describe a search.
type Options struct {
	// Run loads the server at a rate, in operations a second. It returns a run with its SLO, of which at least one objective must be judged.
	Run func(ctx context.Context, rate float64) (*result.Run, error)

	First     float64 // rate to begin with; 0 means 1,000 a second
	Lowest    float64 // rate not to go below; 0 means 1 a second
	Highest   float64 // rate not to go above; 0 means 100 million a second
	Precision float64 // width of the gap at which the search ends, as a share of the rate; 0 means 0.02
	Confirm   int     // runs that must pass at the answer; 0 means 3

	// Report is told of each run when it is over; nil if nobody wants to know.
	Report func(Try)
}

// Try is one run of a search.
type Try struct {
	Number  int                `json:"number"` // from 1
	Rate    float64            `json:"rate"`
	Phase   Phase              `json:"phase"`
	OK      bool               `json:"ok"`
	Failed  []result.Objective `json:"failed,omitempty"`
	Invalid []string           `json:"invalid,omitempty"`
	Run     *result.Run        `json:"-"`
}

// Phase is where a search is.
type Phase string

const (
	Growing    Phase = "growing"
	Shrinking  Phase = "shrinking" // nothing has passed yet
	Halving    Phase = "halving"
	Confirming Phase = "confirming"
)

// Answer is what a search has found.
type Answer struct {
	// Rate is the highest that passed, in operations a second: at the end of a search as often as was to confirm it. 0 means that none did.
	Rate float64 `json:"rate"`
	// Fails is the lowest rate above it that did not. 0 means that none was tried.
	Fails float64 `json:"fails,omitempty"`
	// Limit says what kept the search from finding where the server fails; empty if it got there. Rate is a lower bound then.
	Limit string `json:"limit,omitempty"`
	Tries []Try  `json:"tries"`
}

var (
	// ErrGenerator is returned, with what has been found, when the generator could not keep up at a rate that the server may well have
	// managed: the answer is a lower bound.
	ErrGenerator = errors.New("the generator is at its limit, not the server")
	// ErrUnsteady is returned, with what has been found, when the outcome changes from run to run so much that no rate is confirmed.
	ErrUnsteady = errors.New("what passes in one run fails in the next")
)

// maxTries bounds the runs of a search.
const maxTries = 200

func (o *Options) validate() error {
	switch {
	case o.Run == nil:
		return errors.New("nothing to run")
	case !(o.Lowest > 0) || math.IsInf(o.Lowest, 0):
		return fmt.Errorf("lowest: a rate of %v is not more than 0", o.Lowest)
	case !(o.First >= o.Lowest) || math.IsInf(o.First, 0):
		return fmt.Errorf("first: a rate of %v is below the lowest, %v", o.First, o.Lowest)
	case !(o.Highest >= o.First) || math.IsInf(o.Highest, 0):
		return fmt.Errorf("highest: a rate of %v is below the first, %v", o.Highest, o.First)
	case !(o.Precision >= 0.001 && o.Precision <= 0.5):
		return fmt.Errorf("precision: %v is not from 0.001 to 0.5", o.Precision)
	case o.Confirm < 1 || o.Confirm > 100:
		return fmt.Errorf("confirm: %d is not from 1 to 100", o.Confirm)
	}
	return nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Highest searches. An error that wraps ErrGenerator, ErrUnsteady or the cause of ctx comes with what has been found until then.
func Highest(ctx context.Context, o Options) (*Answer, error) {
	orDefault(&o.Lowest, 1)
	orDefault(&o.First, max(1000, o.Lowest))
	orDefault(&o.Highest, max(1e8, o.First))
	orDefault(&o.Precision, 0.02)
	orDefault(&o.Confirm, 3)
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &search{Options: o, ctx: ctx}
	err := s.run()
	s.answer.Rate, s.answer.Fails = s.passed, s.failed
	if err != nil {
		return &s.answer, fmt.Errorf("%w", err)
	}
	switch {
	case s.failed == 0:
		s.answer.Limit = fmt.Sprintf("the highest rate that was to be tried, %.0f/s", s.Highest)
	case s.invalid != "":
		s.answer.Limit = fmt.Sprintf("the generator's own at %.0f/s: %s", s.failed, s.invalid)
		return &s.answer, fmt.Errorf("at %.0f/s: %w: %s", s.failed, ErrGenerator, s.invalid)
	}
	return &s.answer, nil
}

// search is one under way.
type search struct {
	Options
	ctx    context.Context
	answer Answer

	passed  float64 // highest rate that passes, as far as is known; 0 for none
	failed  float64 // lowest that does not; 0 for none
	invalid string  // why that says nothing of the server; empty if it does
}

func (s *search) run() error {
	for {
		if err := s.bracket(); err != nil || s.passed == 0 {
			return err
		}
		for s.failed > 0 && s.failed-s.passed > s.Precision*s.failed {
			if err := s.try(math.Sqrt(s.failed*s.passed), Halving); err != nil {
				return err
			}
		}
		rate := s.passed
		// A rate that does not hold is one that fails, and the search goes on below it.
		// Unless that was the generator: the server has not failed anywhere.
		if confirmed, err := s.confirm(); err != nil || confirmed || s.invalid != "" && s.failed == rate {
			return err
		}
	}
}

// bracket tries rates until there is one that passes, and one that does not unless that would be above the highest. If it returns with none
// that passes, none does.
func (s *search) bracket() error {
	for {
		var err error
		switch {
		case s.passed == 0 && s.failed == 0:
			err = s.try(s.First, Growing)
		case s.passed == 0 && s.invalid != "":
			return nil // lower rates would say even less of the server
		case s.passed == 0 && s.failed > s.Lowest:
			err = s.try(max(s.Lowest, s.failed/2), Shrinking)
		case s.passed > 0 && s.failed == 0 && s.passed < s.Highest:
			err = s.try(min(2*s.passed, s.Highest), Growing)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// confirm repeats the rate that passed. All must pass; a run that says nothing of the server is made again.
func (s *search) confirm() (bool, error) {
	rate := s.passed
	for range s.Confirm - 1 {
		t, err := s.once(rate, Confirming)
		if err == nil && len(t.Invalid) > 0 {
			t, err = s.once(rate, Confirming)
		}
		if err != nil {
			return false, err
		}
		if !t.OK {
			s.fail(t)
			return false, nil
		}
	}
	return true, nil
}

// try runs at a rate, and again if that fails, and takes note of the outcome.
func (s *search) try(rate float64, phase Phase) error {
	t, err := s.once(rate, phase)
	if err == nil && !t.OK {
		t, err = s.once(rate, phase)
	}
	switch {
	case err != nil:
		return err
	case t.OK:
		s.passed = rate
	default:
		s.fail(t)
	}
	return nil
}

func (s *search) once(rate float64, phase Phase) (Try, error) {
	if len(s.answer.Tries) == maxTries {
		return Try{}, fmt.Errorf("after %d runs: %w", maxTries, ErrUnsteady)
	}
	run, err := s.Run(s.ctx, rate)
	switch {
	case err == nil && s.ctx.Err() != nil:
		err = context.Cause(s.ctx)
	case err == nil && len(run.SLO) == 0:
		err = errors.New("nothing is demanded of the server: any rate would do")
	}
	if err != nil {
		return Try{}, fmt.Errorf("at %.0f/s: %w", rate, err)
	}
	t := Try{Number: len(s.answer.Tries) + 1, Rate: rate, Phase: phase, Invalid: run.Invalid, Run: run}
	for _, objective := range run.SLO {
		if !objective.OK {
			t.Failed = append(t.Failed, objective)
		}
	}
	t.OK = len(t.Failed) == 0 && len(t.Invalid) == 0
	s.answer.Tries = append(s.answer.Tries, t)
	if s.Report != nil {
		s.Report(t)
	}
	return t, nil
}

// fail takes note of a rate that does not pass. What passes is then the highest below it that did.
func (s *search) fail(t Try) {
	// An invalid run says nothing of the server, also if an objective has failed: who knows whose fault that is.
	s.failed, s.invalid = t.Rate, strings.Join(t.Invalid, "; ")
	s.passed = 0
	for _, before := range s.answer.Tries {
		if before.OK && before.Rate < t.Rate {
			s.passed = max(s.passed, before.Rate)
		}
	}
}
