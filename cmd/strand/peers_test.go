//go:build unix

package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program of another's engines is compared beside the own ones. Here it is a script around strand itself.
func TestBenchWithPeers(t *testing.T) {
	dir := t.TempDir()
	peers := filepath.Join(dir, "peers")
	script := "#!/bin/sh\nif [ $1 = --list ]; then echo other; else exec " + strand + " serve --until-eof --engine net \"$3\" \"$4\" \"$5\" \"$6\"; fi\n"
	require.NoError(t, os.WriteFile(peers, []byte(script), 0o700))
	file := filepath.Join(dir, "result.json")
	o := run(t, exec.Command(strand, "bench", "--quick", "--peers", peers, "--engines", "net,other", "--conns", "2", "--json", file))
	require.Equal(t, 0, o.code, o.stderr)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var report struct {
		Scenarios []struct{ Engines []struct{ Engine string } }
	}
	require.NoError(t, json.Unmarshal(text, &report))
	require.NotEmpty(t, report.Scenarios)
	for _, scenario := range report.Scenarios {
		require.Len(t, scenario.Engines, 2)
		require.Equal(t, "other", scenario.Engines[1].Engine)
	}
}

func TestPeersNamedAsAnOwnEngine(t *testing.T) {
	peers := filepath.Join(t.TempDir(), "peers")
	require.NoError(t, os.WriteFile(peers, []byte("#!/bin/sh\necho gnet echo\necho net echo\n"), 0o700))
	requireUsage(t, run(t, exec.Command(strand, "bench", "--peers", peers)), "bench: peers: "+peers+" has an engine net, and strand has one of that name")
}
