package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// Compare runs every engine in every scenario, in turn, round after round. Each run has a server process of its own,
// so that no engine inherits the memory of a run before. The order rotates from round to round, so that no engine always
// comes first. It stops at the first failure.
func Compare(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	report := newReport(&o)
	// The load is one goroutine. A second processor would not help it: its search for work would only take time away
	// from the server: it cost the client a tenth more for each message. The children are not affected.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	scenarios := o.scenarios()
	step := Step{Of: o.Rounds * len(scenarios) * len(o.Engines)}
	for round := range o.Rounds {
		for i, scenario := range scenarios {
			for e := range o.Engines {
				engine := o.Engines[(e+round)%len(o.Engines)]
				step.Number++
				step.Round, step.Scenario, step.Engine = round+1, scenario, engine
				step.Left = o.estimate() * time.Duration(step.Of-step.Number+1)
				if o.Report != nil {
					o.Report(step)
				}
				measurement, err := o.run(ctx, engine, scenario)
				if err != nil {
					return nil, fmt.Errorf("engine %s, %v: %w", engine, scenario, err)
				}
				report.Scenarios[i].add(engine, measurement)
			}
		}
	}
	report.summarize()
	return report, nil
}

// run measures one server from its start to its end.
func (o *Options) run(ctx context.Context, engine string, scenario Scenario) (Measurement, error) {
	program, args := o.Command(engine, scenario.Name)
	child, err := StartChild(ctx, program, args...)
	if err != nil {
		return Measurement{}, err
	}
	load := o.load(scenario)
	load.Addr = child.Addr
	result, err := func() (*LoadResult, error) {
		defer child.Stop()
		if load.Process, err = Watch(child.PID()); err != nil {
			return nil, err
		}
		if scenario.Name == scenarioUDPEcho {
			return LoadUDP(ctx, load)
		}
		return Load(ctx, load)
	}()
	if err != nil {
		return Measurement{}, child.explain(err)
	}
	return newMeasurement(scenario, result), nil
}
