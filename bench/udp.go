package bench

import (
	"context"
	"time"

	"github.com/strand-net/strand/bench/udpload"
)

// udpLoad is load for datagrams.
func (o *Options) udpLoad(s Scenario) udpload.Options {
	return udpload.Options{
		Peers: s.Conns, Depth: s.Depth, Size: s.Size,
		Warmup: min(o.Duration/4, time.Second), Window: o.Duration,
	}
}

// runUDP measures one server of datagrams.
func (o *Options) runUDP(ctx context.Context, child *Child, scenario Scenario) (m Measurement, err error) {
	var seen seen
	if seen.process, err = Watch(child.PID()); err != nil {
		return m, err
	}
	if seen.before, err = seen.process.rss(); err != nil {
		return m, err
	}
	options := o.udpLoad(scenario)
	options.Addr = child.Addr
	options.OnBegin = func() error {
		seen.cpuBegin, err = seen.process.cpu()
		return err
	}
	options.OnEnd = func() error {
		if seen.cpuEnd, err = seen.process.cpu(); err == nil {
			seen.after, err = seen.process.rss()
		}
		return err
	}
	result, err := udpload.Run(ctx, options)
	if err != nil {
		return m, err
	}
	return newUDPMeasurement(scenario, result, &seen), nil
}

func newUDPMeasurement(s Scenario, result *udpload.Result, seen *seen) Measurement {
	user, system := seen.cpuEnd.User-seen.cpuBegin.User, seen.cpuEnd.System-seen.cpuBegin.System
	perMessage := func(seconds float64) float64 { return seconds * 1e6 / float64(result.Datagrams) }
	quantile := func(q float64) float64 { return float64(result.Latency.ValueAtQuantile(q)) / 1e3 }
	return Measurement{
		Messages:     result.Datagrams,
		Seconds:      result.Elapsed.Seconds(),
		MessagesPerS: float64(result.Datagrams) / result.Elapsed.Seconds(),
		CPUUserUS:    perMessage(user.Seconds()),
		CPUSystemUS:  perMessage(system.Seconds()),
		CPUUS:        perMessage((user + system).Seconds()),
		P50US:        quantile(50),
		P99US:        quantile(99),
		P999US:       quantile(99.9),
		MaxUS:        float64(result.Latency.Max()) / 1e3,
		OverRange:    result.OverRange,
		Batches:      result.Latency.TotalCount() + result.OverRange,
		Lost:         result.Lost,
		KiB:          float64(seen.after-seen.before) / 1024 / float64(s.Conns),
	}
}
