// Command strand serves demo protocols on the engine and compares the engine with package net.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/strand-net/strand/bench/result"
)

// Exit codes; verdict has those of measurements.
const (
	exitFailed = result.ExitError   // the run failed
	exitUsage  = result.ExitInvalid // nothing was run: bad usage, a bad option, or something that the run needs is missing
)

type commands struct {
	Serve   serveCommand     `cmd:"" help:"Run a demo server."`
	Bench   benchCommand     `cmd:"" help:"Compare the engines with package net, on this machine."`
	Load    loadCommand      `cmd:"" help:"Put a service under load and measure it."`
	Merge   mergeCommand     `cmd:"" help:"Make one result of the shards of a load run."`
	Report  reportCommand    `cmd:"" help:"Make a page, or a chart, of the results of load runs."`
	AB      abCommand        `cmd:"" name:"ab" help:"Tell whether two servers differ under load."`
	Search  searchCommand    `cmd:"" help:"Find the highest rate at which a server does what is demanded of it."`
	Doctor  doctorCommand    `cmd:"" help:"Tell whether this machine can hold many connections, and what to change."`
	Demo    demoCommand      `cmd:"" help:"Show by an example what the engine is for."`
	Version kong.VersionFlag `help:"Print the version and exit."`
}

// usageError marks an error that comes before anything was run.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	var cli commands
	parser, err := kong.New(&cli,
		kong.Name("strand"),
		kong.Description("A network engine for plain sequential handlers: demo servers and measurements."),
		kong.Vars{"version": version()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fail(exitUsage, err)
	}
	ctx, err := parser.Parse(os.Args[1:])
	if err != nil {
		fail(exitUsage, fmt.Errorf("%w (see strand --help)", err))
	}
	if err := ctx.Run(); err != nil {
		code := exitFailed
		if errors.As(err, new(usageError)) {
			code = exitUsage
		}
		if verdict := (verdictError{}); errors.As(err, &verdict) {
			code = verdict.code
		}
		command, _, _ := strings.Cut(ctx.Command(), " <") // without its arguments
		fail(code, fmt.Errorf("%s: %w", command, err))
	}
}

func fail(code int, err error) {
	fmt.Fprintf(os.Stderr, "strand: %v\n", err)
	os.Exit(code)
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "strand (unknown version)"
	}
	return fmt.Sprintf("strand %s %s", info.Main.Version, info.GoVersion)
}
