package main

import (
	"github.com/alecthomas/kong"

	"github.com/strand-net/strand/bench/load"
)

// timedFlags is which of the flags were given that have defaults, and that stages are instead of.
type timedFlags struct{ duration, windows bool }

// AfterApply is for kong to call: it alone knows what was given.
func (c *loadCommand) AfterApply(ctx *kong.Context) error {
	for _, element := range ctx.Path {
		if element.Flag == nil {
			continue
		}
		switch element.Flag.Name {
		case "duration":
			c.timed.duration = true
		case "windows":
			c.timed.windows = true
		}
	}
	return nil
}

// stageOptions leaves out the defaults of what stages are instead of. What was given stays, and is refused.
func (c *loadCommand) stageOptions(o *load.Options) {
	if len(c.Stages) == 0 {
		return
	}
	if !c.timed.duration {
		o.Window = 0
	}
	if !c.timed.windows {
		o.Windows = 0
	}
}
