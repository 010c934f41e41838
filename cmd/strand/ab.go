package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/strand-net/strand/bench/ab"
	"github.com/strand-net/strand/bench/result"
)

type abCommand struct {
	A          string  `name:"a" required:"" help:"One side: the address of a server, or a command that starts one, says \"listening on ADDR\" first, and ends with its standard input." placeholder:"ADDR|COMMAND"`
	B          string  `name:"b" required:"" help:"The other side." placeholder:"ADDR|COMMAND"`
	Runs       int     `default:"10" help:"Runs of each side, at least 10." placeholder:"N"`
	Confidence float64 `default:"0.95" help:"Of intervals and claims." placeholder:"P"`
	Rate       float64 `help:"Operations a second; by default as many as each side can do." placeholder:"N"`
	JSON       string  `name:"json" help:"Write the report to this file." placeholder:"FILE"`
	Results    string  `help:"Write the results of all runs to this directory, for strand report." placeholder:"DIR"`
	traffic
}

func (c *abCommand) Run() error {
	places, err := c.check()
	if err != nil {
		return usageError{err}
	}
	ctx, stop, err := c.begin()
	if err != nil {
		return err
	}
	defer stop()
	o := ab.Options{
		A: c.side("A: "+c.A, places[0]), B: c.side("B: "+c.B, places[1]), Runs: c.Runs, Confidence: c.Confidence, Seed: c.Seed,
		Report: func(s ab.Step) { fmt.Fprintf(os.Stderr, "run %d of %d, %s\n", s.Number, s.Of, s.Side) },
	}
	if c.Results != "" {
		o.Keep = func(s ab.Step, run *result.Run) error { return run.WriteFile(c.resultFile(s)) }
	}
	report, err := ab.Compare(ctx, o)
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case errors.Is(err, ab.ErrInvalid):
		return verdictError{result.ExitInvalid, err.Error()}
	case err != nil:
		return err
	}
	if err := report.WriteTable(os.Stdout); err != nil {
		return err
	}
	if c.JSON != "" {
		if err := result.WriteJSON(c.JSON, report); err != nil {
			return fmt.Errorf("json: %w", err)
		}
	}
	return nil
}

// check finds all that can be wrong before anything is started.
func (c *abCommand) check() (places [2]place, err error) {
	for i, text := range []string{c.A, c.B} {
		if places[i], err = parsePlace(text); err != nil {
			return places, fmt.Errorf("%c: %w", 'a'+i, err)
		}
	}
	if c.Runs < ab.LeastRuns {
		return places, fmt.Errorf("runs: %d is less than %d: hardly any difference could be told from chance", c.Runs, ab.LeastRuns)
	}
	if c.Confidence <= 0.5 || c.Confidence >= 1 {
		return places, fmt.Errorf("confidence: %v is not between 0.5 and 1", c.Confidence)
	}
	if _, _, err := c.options("127.0.0.1:1", c.Rate, nil); err != nil {
		return places, err
	}
	if c.JSON != "" {
		if err := result.CheckFile(c.JSON); err != nil {
			return places, fmt.Errorf("json: %w", err)
		}
	}
	if c.Results != "" {
		if err := os.MkdirAll(c.Results, 0o755); err != nil {
			return places, fmt.Errorf("results: %w", err)
		}
		if err := result.CheckFile(c.resultFile(ab.Step{First: true, Round: 1})); err != nil {
			return places, fmt.Errorf("results: %w", err)
		}
	}
	return places, nil
}

// resultFile is where the result of a run goes. Rounds are in the order of their names.
func (c *abCommand) resultFile(s ab.Step) string {
	side := "b"
	if s.First {
		side = "a"
	}
	return filepath.Join(c.Results, fmt.Sprintf("%s%0*d.json", side, len(strconv.Itoa(c.Runs)), s.Round))
}

func (c *abCommand) side(name string, p place) ab.Side {
	return ab.Side{Name: name, Run: func(ctx context.Context) (*result.Run, error) {
		return p.with(ctx, c.ServerCPUs, func(addr string, pid int) (*result.Run, error) {
			o, _, err := c.options(addr, c.Rate, nil)
			if err != nil {
				return nil, err
			}
			run, err := measure(ctx, o, pid)
			if err == nil && len(run.Errors) > 0 {
				err = fmt.Errorf("connections have failed: %s", run.Faults[0])
			}
			return run, err
		})
	}}
}
