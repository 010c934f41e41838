package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
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
	var step Step
	for _, s := range scenarios {
		step.Of += o.Rounds * len(o.engines(s.Name))
	}
	for round := range o.Rounds {
		for i, scenario := range scenarios {
			engines := o.engines(scenario.Name)
			for e := range engines {
				engine := engines[(e+round)%len(engines)]
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
	program, args := o.Command(engine, Proto(scenario.Name))
	child, err := StartChildOn(ctx, o.ServerCPUs, program, args...)
	if err != nil {
		return Measurement{}, err
	}
	options := o.load(scenario)
	options.Addr = child.Addr
	var seen seen
	run, err := func() (*result.Run, error) {
		defer child.Stop()
		if seen.process, err = Watch(child.PID()); err != nil {
			return nil, err
		}
		options.OnPhase = seen.look
		return load.Run(ctx, options)
	}()
	if err != nil {
		return Measurement{}, child.explain(err)
	}
	return newMeasurement(scenario, run, &seen), nil
}

// seen is what was seen of the server from outside.
type seen struct {
	process             *Process
	before, idle, after int64   // resident memory, in bytes: before the first connection, connected but idle, after the traffic
	cpuBegin, cpuEnd    CPUTime // of the window
}

func (s *seen) look(p load.Phase) (err error) {
	switch p.Name {
	case load.PhaseConnect:
		s.before, err = s.process.rss()
	case load.PhaseIdle:
		s.idle, err = s.process.rss()
	case load.PhaseWindow:
		s.cpuBegin, err = s.process.cpu()
	case load.PhaseDrain:
		if s.cpuEnd, err = s.process.cpu(); err == nil {
			s.after, err = s.process.rss()
		}
	}
	return err
}
