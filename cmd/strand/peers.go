package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/strand-net/strand/bench/server"
)

// peersPatience is how long a program may take to say which engines it has.
const peersPatience = 10 * time.Second

// peers are the engines of a program, each with the protocols that it has. None means that it does not say, and is expected to have all.
type peers map[string][]string

func (p peers) names() []string { return slices.Sorted(maps.Keys(p)) }

func (p peers) speaks(engine, proto string) bool {
	return len(p[engine]) == 0 || slices.Contains(p[engine], proto)
}

// listPeers asks a program which engines it has, by --list: in each line a name, and then the protocols of that. No program has none.
func listPeers(program string) (peers, error) {
	if program == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), peersPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--list").Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("%s has not said within %v which engines it has", program, peersPatience)
	}
	all := make(peers)
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) == 0 || err != nil {
			continue
		}
		if slices.Contains(server.Engines(), words[0]) {
			err = fmt.Errorf("%s has an engine %s, and strand has one of that name", program, words[0])
		}
		all[words[0]] = words[1:]
	}
	if err == nil && len(all) == 0 {
		err = errors.New(program + " has no engines")
	}
	if err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	return all, nil
}
