package coserver_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// difference is something that the engine does otherwise than package net, and why that stays.
type difference struct {
	reason   string
	script   string   // empty: every script
	networks []string // nil: each of them
	who      who
	here     *regexp.Regexp // in the trace of package net
	instead  string         // what the engine does there
}

var differences = []difference{
	copied("calls after Close"),
	copied("both deadlines in the past"),
	{
		reason: "what was written before Close is delivered; the kernel's reset for unread input would destroy it",
		script: "Close with input unread", who: peer,
		here: regexp.MustCompile(`^(peer.Read\(1\)): .*ECONNRESET.*`), instead: `$1: 0 00000000 *errors.errorString bare EOF closed=false deadline=false "EOF"`,
	},
	{
		reason: "CloseWrite waits for its turn: a Write that is under way arrives whole, or fails for its own reason",
		script: "CloseWrite during a write", networks: []string{"tcp", "tcp6"}, who: us,
		here:    regexp.MustCompile(`SyscallError\{write\} EPIPE timeout=false temporary=false closed=false deadline=false (.*): write: broken pipe`),
		instead: `*poll.DeadlineExceededError timeout=true temporary=true closed=false deadline=true $1: i/o timeout`,
	},
}

// copied is the error of a WriteTo of TCP, in a script that meets one.
func copied(script string) difference {
	return difference{
		reason: "the error of WriteTo is that of the read; package net wraps it once more, for TCP only",
		script: script, networks: []string{"tcp", "tcp6"}, who: us,
		here: regexp.MustCompile(`OpError\{writeto [^}]*\} (.*)"writeto \w+ \S+: `), instead: `$1"`,
	}
}

func (d *difference) isOf(script, network string) bool {
	return (d.script == "" || d.script == script) && (d.networks == nil || slices.Contains(d.networks, network))
}

// allow makes of the trace of package net the one that the engine is allowed. A difference that is not there any more must
// leave the table.
func allow(t *testing.T, script, network string, trace []string) []string {
	t.Helper()
	allowed := slices.Clone(trace)
	for _, d := range differences {
		if !d.isOf(script, network) {
			continue
		}
		found := false
		for i, line := range allowed {
			if strings.HasPrefix(line, d.who.String()) && d.here.MatchString(line) {
				found = true
				allowed[i] = d.here.ReplaceAllString(line, d.instead)
			}
		}
		require.True(t, found || d.script == "", "package net does not do what this difference is from: %s", d.reason)
	}
	return allowed
}
