package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/strand-net/strand/bench"
	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/watch"
)

// traffic is what each run of several is under: the flags of strand load that make sense for all of them.
type traffic struct {
	Conns    int           `default:"100" help:"Connections." placeholder:"N"`
	Threads  int           `default:"1" help:"Event loops that drive them." placeholder:"N"`
	Framing  string        `default:"raw" help:"Where a message ends: raw, length or line, as of strand load." placeholder:"NAME"`
	Size     string        `default:"64" help:"Bytes of a message, as of strand load." placeholder:"SIZES"`
	Batch    int           `default:"1" help:"Messages of an operation, which are sent together." placeholder:"N"`
	Depth    int           `help:"Operations in flight on a connection, at most." placeholder:"N"`
	Pace     string        `help:"When operations begin, as of strand load." placeholder:"NAME"`
	Seed     uint64        `help:"Of all that is random." placeholder:"N"`
	Settle   time.Duration `default:"200ms" help:"Pause between connecting and traffic, in each run."`
	Warmup   time.Duration `default:"500ms" help:"Traffic that is not counted, in each run."`
	Duration time.Duration `short:"d" default:"3s" help:"Measured time of each run."`

	ServerCPUs watch.CPUs `name:"server-cpus" sep:"none" help:"Processors that a server may use which is started here, such as 0,2-3." placeholder:"LIST"`
	ClientCPUs watch.CPUs `name:"client-cpus" sep:"none" help:"Processors that the load generator may use." placeholder:"LIST"`
}

// options are those of a run, of which Addr is a placeholder that is checked and filled in for each.
func (t *traffic) options(addr string, rate float64, slo []string) (load.Options, []*result.Condition, error) {
	if both := t.ServerCPUs.Overlap(t.ClientCPUs); len(both) > 0 {
		return load.Options{}, nil, fmt.Errorf("client-cpus: %v are the server's, too", both)
	}
	c := loadCommand{
		Addr: addr, Conns: t.Conns, Threads: t.Threads, Framing: t.Framing, Size: t.Size, Batch: t.Batch, Depth: t.Depth, Pace: t.Pace, Rate: rate,
		Seed: t.Seed, Connecting: 64, Settle: t.Settle, Warmup: t.Warmup, Duration: t.Duration, Windows: 1, Drain: 5 * time.Second, SLO: slo,
	}
	return c.options()
}

// begin prepares this process to be the generator of all runs. The context ends when the user has had enough; stop must be called.
func (t *traffic) begin() (ctx context.Context, stop context.CancelFunc, err error) {
	if err := t.ClientCPUs.Use(); err != nil {
		return nil, nil, usageError{fmt.Errorf("client-cpus: %w", err)}
	}
	// A processor more than there are threads would only take time away from the server.
	runtime.GOMAXPROCS(min(t.Threads, runtime.NumCPU()))
	ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	return ctx, stop, nil
}

// measure is one run, in which the server is watched if its process is known. An answer that is not what was sent is an error.
func measure(ctx context.Context, o load.Options, pid int) (*result.Run, error) {
	var watcher *watch.Watcher
	if pid != 0 {
		var err error
		if watcher, err = watch.Start(ctx, watch.Options{PID: pid}); err != nil {
			return nil, err
		}
		o.OnPhase = func(p load.Phase) error {
			lookAt(watcher, p)
			return nil
		}
	}
	run, err := load.Run(ctx, o)
	if watcher != nil {
		outcome, watchErr := watcher.Stop()
		if err == nil && watchErr != nil {
			err = watchErr
		}
		if err == nil {
			outcome.Fill(run)
		}
	}
	if err == nil && run.Check.Faults() > 0 {
		err = fmt.Errorf("what came back is not what was sent: %s", run.Faults[0])
	}
	return run, err
}

// place is where a server is, or how one is started.
type place struct {
	addr    string // of one that runs; empty for a command
	program string
	args    []string
}

// parsePlace tells an address, HOST:PORT, unix:PATH or udp:HOST:PORT, from a command.
func parsePlace(text string) (place, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return place{}, errors.New("neither an address nor a command")
	}
	if len(words) == 1 {
		network, addr := splitNetwork(text)
		if _, _, err := net.SplitHostPort(addr); err == nil || network == "unix" {
			return place{addr: text}, nil
		}
	}
	return place{program: words[0], args: words[1:]}, nil
}

// with runs do with a server: one that is started for this alone, or the one that is there.
func (p *place) with(ctx context.Context, cpus watch.CPUs, do func(addr string, pid int) (*result.Run, error)) (*result.Run, error) {
	if p.addr != "" {
		network, addr := splitNetwork(p.addr)
		pid, err := watch.FindListener(network, addr)
		if err != nil {
			pid = 0 // it may be on another machine, and is not watched
		}
		return do(p.addr, pid)
	}
	child, err := bench.StartChildOn(ctx, cpus, p.program, p.args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.program, err)
	}
	defer child.Stop()
	return do(child.Addr, child.PID())
}
