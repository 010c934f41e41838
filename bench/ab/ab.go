// Package ab tells whether two servers, or two versions of one, differ under load, and by how much. Their runs alternate in random
// order, so that a change of the machine meets both; no distribution is assumed of their figures.
package ab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/strand-net/strand/bench/result"
)

// LeastRuns is how many runs each side has at least: from fewer, hardly any difference can be told from chance.
const LeastRuns = 10

// Side is one of the two that are compared.
type Side struct {
	Name string // for the report
	// Run measures once, with a server of its own or one that has settled. The run must be one that can be believed.
	Run func(ctx context.Context) (*result.Run, error)
}

// Options describe a comparison.
type Options struct {
	A, B       Side
	Runs       int     // of each side, at least LeastRuns; 0 means LeastRuns
	Confidence float64 // of intervals and claims, between 0 and 1; 0 means 0.95
	Seed       uint64  // of the order

	// Keep is given each run, whose tags say which side and which round it is, so that bench/report puts them together; nil if nobody wants to.
	// An error ends the comparison.
	Keep func(Step, *result.Run) error
	// Report is told what is being done, before each run; nil if nobody wants to know.
	Report func(Step)
}

// Step is one run of a comparison, about to start.
type Step struct {
	Number, Of int // runs are counted from 1
	Side       string
	First      bool // it is A, and not B
	Round      int  // from 1: each has a run of both
}

// ErrInvalid is wrapped by the error of a run whose own generator limited it: its figures say nothing of the server.
var ErrInvalid = errors.New("the run is invalid")

func (o *Options) validate() error {
	switch {
	case o.A.Run == nil || o.B.Run == nil:
		return errors.New("a side has nothing to run")
	case o.A.Name == o.B.Name:
		return fmt.Errorf("both sides are called %q", o.A.Name)
	case o.Runs < LeastRuns:
		return fmt.Errorf("runs: %d is less than %d: hardly any difference could be told from chance", o.Runs, LeastRuns)
	case o.Confidence <= 0.5 || o.Confidence >= 1:
		return fmt.Errorf("confidence: %v is not between 0.5 and 1", o.Confidence)
	}
	return nil
}

// Compare runs both sides, in pairs of random order, and returns what they differ in. It stops at the first run that fails or is invalid.
func Compare(ctx context.Context, o Options) (*Report, error) {
	if o.Runs == 0 {
		o.Runs = LeastRuns
	}
	if o.Confidence == 0 {
		o.Confidence = 0.95
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	sides := [2]*Side{&o.A, &o.B}
	var runs [2][]*result.Run
	random := rand.New(rand.NewPCG(o.Seed, 0))
	step := Step{Of: 2 * o.Runs}
	for round := range o.Runs {
		first := random.IntN(2)
		for _, i := range []int{first, 1 - first} {
			step.Number++
			step.Side, step.First, step.Round = sides[i].Name, i == 0, round+1
			if o.Report != nil {
				o.Report(step)
			}
			run, err := sides[i].Run(ctx)
			if err == nil && len(run.Invalid) > 0 {
				err = fmt.Errorf("%w: %s", ErrInvalid, strings.Join(run.Invalid, "; "))
			}
			if err == nil && operations(run) == 0 {
				err = errors.New("nothing ended within the measured time: make it longer")
			}
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				return nil, fmt.Errorf("run %d of %d, %s: %w", step.Number, step.Of, step.Side, err)
			}
			if o.Keep != nil {
				tags := make(map[string]string)
				maps.Copy(tags, run.Tags)
				tags[result.TagSide], tags[result.TagRound] = step.Side, strconv.Itoa(step.Round)
				run.Tags = tags
				if err := o.Keep(step, run); err != nil {
					return nil, err
				}
			}
			runs[i] = append(runs[i], run)
		}
	}
	return newReport(&o, runs[0], runs[1]), nil
}
