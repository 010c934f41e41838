package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/search"
)

type searchCommand struct {
	Server    string   `arg:"" help:"The address of a server, HOST:PORT, unix:PATH or udp:HOST:PORT, or a command that starts one for each run, as for strand ab."`
	SLO       []string `name:"slo" sep:"none" required:"" help:"What is demanded of the server, such as 'p99<5ms' or 'errors==0'; may be repeated." placeholder:"CONDITION"`
	First     float64  `default:"1000" help:"Rate to begin with, in operations a second." placeholder:"N"`
	Highest   float64  `default:"1e8" help:"Rate not to go above." placeholder:"N"`
	Precision float64  `default:"0.02" help:"Width of the gap at which the search ends, as a share of the rate." placeholder:"SHARE"`
	Confirm   int      `default:"3" help:"Runs that must pass at the answer." placeholder:"N"`
	JSON      string   `name:"json" help:"Write the answer, with all runs, to this file." placeholder:"FILE"`
	traffic
}

func (c *searchCommand) Run() error {
	server, err := c.check()
	if err != nil {
		return usageError{err}
	}
	ctx, stop, err := c.begin()
	if err != nil {
		return err
	}
	defer stop()
	answer, err := search.Highest(ctx, search.Options{
		Lowest: c.lowest(), First: c.First, Highest: c.Highest, Precision: c.Precision, Confirm: c.Confirm,
		Run: func(ctx context.Context, rate float64) (*result.Run, error) {
			return server.with(ctx, c.ServerCPUs, func(addr string, pid int) (*result.Run, error) {
				o, conditions, err := c.options(addr, rate, c.SLO)
				if err != nil {
					return nil, err
				}
				run, err := measure(ctx, o, pid)
				if err == nil {
					run.Judge(conditions)
				}
				return run, err
			})
		},
		Report: func(t search.Try) { fmt.Fprintf(os.Stderr, "%s at %.0f/s: %s\n", t.Phase, t.Rate, describeTry(t)) },
	})
	if ctx.Err() != nil {
		return errInterrupted
	}
	if answer == nil || err != nil && !errors.Is(err, search.ErrGenerator) && !errors.Is(err, search.ErrUnsteady) {
		return err
	}
	c.show(answer)
	if c.JSON != "" {
		if err := result.WriteJSON(c.JSON, answer); err != nil {
			return fmt.Errorf("json: %w", err)
		}
	}
	switch {
	case err != nil:
		return verdictError{result.ExitInvalid, err.Error()}
	case answer.Rate == 0:
		return verdictError{result.ExitObjective, "no rate is low enough"}
	}
	return nil
}

// fewest is how many operations a run has at least: of fewer, nothing can be said.
const fewest = 10

func (c *searchCommand) lowest() float64 { return fewest / c.Duration.Seconds() }

// check finds all that can be wrong before anything is started.
func (c *searchCommand) check() (place, error) {
	server, err := parsePlace(c.Server)
	if err != nil {
		return server, fmt.Errorf("server: %w", err)
	}
	switch {
	case c.Highest < c.First:
		return server, fmt.Errorf("highest: a rate of %v is below the first, %v", c.Highest, c.First)
	case c.Precision < 0.001 || c.Precision > 0.5:
		return server, fmt.Errorf("precision: %v is not from 0.001 to 0.5", c.Precision)
	case c.Confirm < 1 || c.Confirm > 100:
		return server, fmt.Errorf("confirm: %d is not from 1 to 100", c.Confirm)
	}
	if _, _, err := c.options("127.0.0.1:1", c.First, c.SLO); err != nil {
		return server, err
	}
	if c.First < c.lowest() {
		return server, fmt.Errorf("first: a rate of %v has not even %d operations in %v", c.First, fewest, c.Duration)
	}
	if c.JSON != "" {
		if err := result.CheckFile(c.JSON); err != nil {
			return server, fmt.Errorf("json: %w", err)
		}
	}
	return server, nil
}

func (c *searchCommand) show(a *search.Answer) {
	fmt.Printf("%.0f/s is the highest rate with %s\n", a.Rate, strings.Join(c.SLO, ", "))
	if a.Fails > 0 {
		fmt.Printf("%.0f/s is too much: ", a.Fails)
		for i := len(a.Tries) - 1; i >= 0; i-- {
			if t := a.Tries[i]; t.Rate == a.Fails && !t.OK {
				fmt.Println(describeTry(t))
				break
			}
		}
	}
	if a.Limit != "" {
		fmt.Printf("it may be more: the limit was %s\n", a.Limit)
	}
}

func describeTry(t search.Try) string {
	var said []string
	for _, o := range t.Failed {
		said = append(said, fmt.Sprintf("%s was %.4g", o.Expression, o.Value))
	}
	if len(t.Invalid) > 0 {
		said = append(said, "the generator is at its limit: "+strings.Join(t.Invalid, "; "))
	}
	if t.OK {
		said = append(said, "passes")
	}
	return strings.Join(said, ", ")
}
