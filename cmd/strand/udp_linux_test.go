package main_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Datagrams come back, and the server ends when it is told to.
func TestServeUDPEcho(t *testing.T) {
	for _, engine := range []string{"net", "coserver"} {
		t.Run(engine, func(t *testing.T) {
			s := serve(t, nil, "--engine", engine, "--proto", "udp-echo")
			conn, err := net.Dial("udp", s.addr)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
			for range 3 {
				s.exchange(t, conn)
			}
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			s.requireEnd(t)
		})
	}
}

func TestBenchUDPEcho(t *testing.T) {
	file := filepath.Join(t.TempDir(), "result.json")
	o := run(t, exec.Command(strand, "bench", "--scenario", "udp-echo", "--conns", "10,200", "--depth", "2", "--quick", "--json", file))
	require.Equal(t, 0, o.code, o.stderr)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var report struct {
		Scenarios []struct {
			Name    string
			Conns   int
			Engines []struct{ Engine string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &report))
	require.Len(t, report.Scenarios, 2)
	for i, conns := range []int{10, 200} {
		s := report.Scenarios[i]
		require.Equal(t, "udp-echo", s.Name)
		require.Equal(t, conns, s.Conns)
		require.Len(t, s.Engines, 2) // net and coserver
	}
}
