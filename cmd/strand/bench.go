package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/strand-net/strand/bench"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/bench/watch"
)

type benchCommand struct {
	Engines    []string      `help:"Engines to compare; all that are built in by default. Ratios are to net, or else to the first." placeholder:"NAME,..."`
	Conns      []int         `default:"1,100,1000" help:"Numbers of connections to run echo at. Pipelined lines run at 100, or the highest of these." placeholder:"N,..."`
	Size       []int         `default:"64" help:"Sizes of a message in bytes." placeholder:"BYTES,..."`
	Pipeline   []int         `default:"16" help:"Messages of a batch in the pipelined scenario." placeholder:"N,..."`
	Depth      []int         `default:"1" help:"Messages in flight on a connection, for echo, sink and udp-echo." placeholder:"N,..."`
	Scenario   []string      `help:"Scenarios to run, of echo and line, which run by default, and what runs only if asked for: length (messages after their length), churn (a connection for each message), sink (only to the server), push (only from it), broadcast (to all), udp-echo (datagrams; --conns peers, --depth on their way). An engine is left out of those that it has no protocol for." placeholder:"NAME,..."`
	Duration   time.Duration `default:"1s" help:"Measured time of each run."`
	Rounds     int           `default:"3" help:"How often each engine runs in each scenario." placeholder:"N"`
	Peers      string        `help:"Program that has further engines: bench/peers/peers, which make peers builds." placeholder:"PROGRAM"`
	ServerCPUs watch.CPUs    `name:"server-cpus" sep:"none" help:"Processors that the servers may use, such as 0,2-3." placeholder:"LIST"`
	ClientCPUs watch.CPUs    `name:"client-cpus" sep:"none" help:"Processors that the load generator may use." placeholder:"LIST"`
	Quick      bool          `help:"One short round: shows that everything works, measures little."`
	JSON       string        `name:"json" help:"Write all results to this file." placeholder:"FILE"`
}

func (c *benchCommand) Run() error {
	options, err := c.options()
	if err != nil {
		return usageError{err}
	}
	if err := c.ClientCPUs.Use(); err != nil {
		return usageError{fmt.Errorf("client-cpus: %w", err)}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	progress := bench.Progress{Out: os.Stderr, Terminal: isTerminal(os.Stderr)}
	options.Report = progress.Show
	report, err := bench.Compare(ctx, options)
	progress.Done()
	if ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	if err := report.WriteTable(os.Stdout); err != nil {
		return err
	}
	if c.JSON != "" {
		if err := report.WriteFile(c.JSON); err != nil {
			return fmt.Errorf("json: %w", err)
		}
	}
	return nil
}

// options checks all that can be checked before anything is started.
func (c *benchCommand) options() (bench.Options, error) {
	peers, err := listPeers(c.Peers)
	if err != nil {
		return bench.Options{}, err
	}
	for _, name := range c.Scenario {
		if !slices.Contains(bench.Scenarios(), name) {
			return bench.Options{}, fmt.Errorf("scenario: unknown scenario %q (there are: %s)", name, strings.Join(bench.Scenarios(), ", "))
		}
	}
	speaks := func(engine, proto string) bool {
		if _, ok := peers[engine]; ok {
			return peers.speaks(engine, proto)
		}
		return serverOptions(engine, proto).Validate() == nil
	}
	asked := c.Engines
	if len(asked) == 0 {
		c.Engines = append(server.Engines(), peers.names()...)
	}
	for _, engine := range asked {
		if err := c.canRun(engine, peers); err != nil {
			return bench.Options{}, err
		}
	}
	c.Engines = slices.DeleteFunc(c.Engines, func(engine string) bool {
		return !slices.ContainsFunc(c.protos(), func(proto string) bool { return speaks(engine, proto) })
	})
	if c.Quick {
		c.Duration, c.Rounds = 400*time.Millisecond, 1
	}
	if both := c.ServerCPUs.Overlap(c.ClientCPUs); len(both) > 0 {
		return bench.Options{}, fmt.Errorf("client-cpus: %v are the server's, too", both)
	}
	if len(c.ClientCPUs) > 0 && len(c.ServerCPUs) == 0 {
		return bench.Options{}, errors.New("client-cpus: the servers, which are started here, need --server-cpus then")
	}
	o := bench.Options{
		ServerCPUs: c.ServerCPUs,
		Engines:    c.Engines,
		Conns:      c.Conns,
		Sizes:      c.Size,
		Pipelines:  c.Pipeline,
		Depths:     c.Depth,
		Duration:   c.Duration,
		Rounds:     c.Rounds,
		Scenarios:  c.Scenario,
		Speaks:     speaks,
	}
	if err := o.Validate(); err != nil {
		return o, err
	}
	if c.JSON != "" {
		if err := result.CheckFile(c.JSON); err != nil {
			return o, fmt.Errorf("json: %w", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	o.Command = func(engine, proto string) (string, []string) {
		s := serverOptions(engine, proto)
		if _, ok := peers[engine]; ok {
			return c.Peers, []string{"--engine", s.Engine, "--proto", s.Proto, "--addr", s.Addr}
		}
		return self, []string{"serve", "--until-eof", "--engine", s.Engine, "--proto", s.Proto, "--addr", s.Addr}
	}
	return o, nil
}

// canRun refuses an engine that was asked for and could take part in none of the scenarios, or is none.
func (c *benchCommand) canRun(engine string, peers peers) error {
	if _, ok := peers[engine]; ok {
		for _, proto := range c.protos() {
			if peers.speaks(engine, proto) {
				return nil
			}
		}
		return fmt.Errorf("engines: %s of %s has no protocol %s", engine, c.Peers, strings.Join(c.protos(), " or "))
	}
	var err error
	for _, proto := range c.protos() {
		if err = serverOptions(engine, proto).Validate(); err == nil {
			return nil
		}
	}
	return err
}

// protos are those that the servers have to speak.
func (c *benchCommand) protos() (all []string) {
	if len(c.Scenario) == 0 {
		return []string{server.ProtoEcho, server.ProtoLine}
	}
	for _, name := range c.Scenario {
		all = append(all, bench.Proto(name))
	}
	return all
}

func serverOptions(engine, proto string) server.Options {
	return server.Options{Engine: engine, Proto: proto, Addr: "127.0.0.1:0"}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
