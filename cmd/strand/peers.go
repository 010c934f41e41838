package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/strand-net/strand/bench/server"
)

// peersPatience is how long a program may take to say which engines it has.
const peersPatience = 10 * time.Second

// listPeers asks a program which engines it has, by --list: a name a line. No program has none.
func listPeers(program string) ([]string, error) {
	if program == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), peersPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--list").Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("%s has not said within %v which engines it has", program, peersPatience)
	}
	peers := strings.Fields(string(out))
	if err == nil && len(peers) == 0 {
		err = errors.New(program + " has no engines")
	}
	for _, peer := range peers {
		if err == nil && slices.Contains(server.Engines(), peer) {
			err = fmt.Errorf("%s has an engine %s, and strand has one of that name", program, peer)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("peers: %w", err)
	}
	return peers, nil
}
