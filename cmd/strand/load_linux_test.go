package main_test

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// loadArgs are those of a short run that no slow machine makes invalid.
func loadArgs(addr string, more ...string) []string {
	return append([]string{"load", addr, "--conns", "5", "--warmup", "50ms", "--duration", "1100ms",
		"--max-late=-1s", "--min-achieved=-1", "--max-busy=-1"}, more...)
}

func TestLoad(t *testing.T) {
	s := serve(t, nil)
	file := filepath.Join(t.TempDir(), "result.json")
	o := run(t, exec.Command(strand, loadArgs(s.addr, "--rate", "500", "--tag", "why=test", "--json", file)...))
	require.Equal(t, 0, o.code, o.stderr)
	require.Contains(t, o.stdout, "echo, 5 connections, 64 B, 500/s constant\nconnect: 5 of 5 in ")
	require.Regexp(t, `\n +echo +550 `, o.stdout)
	require.Regexp(t, `\n +service +550 `, o.stdout)
	require.Regexp(t, `checked: \d+ messages, 0 lost, 0 in another order, 0 twice, 0 damaged\n`, o.stdout)
	require.Regexp(t, `(?m)^  0.0 s +\d+/s  p50 `, o.stderr, "a line a second")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var result struct {
		Name   string            `json:"name"`
		Tags   map[string]string `json:"tags"`
		Target float64           `json:"target_per_s"`
	}
	require.NoError(t, json.Unmarshal(text, &result))
	require.Equal(t, 500.0, result.Target)
	require.Equal(t, map[string]string{"why": "test"}, result.Tags)
}

func TestLoadOverUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "echo")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go io.Copy(conn, conn)
		}
	}()
	o := run(t, exec.Command(strand, loadArgs("unix:"+path)...))
	require.Equal(t, 0, o.code, o.stderr)
}

// Exit codes tell a run that must not be believed, and one in which something was wrong, from others.
func TestLoadExitCodes(t *testing.T) {
	s := serve(t, nil)
	o := run(t, exec.Command(strand, loadArgs(s.addr, "--rate", "500", "--max-late", "1ns")...))
	require.Equal(t, 2, o.code, o.stderr)
	require.Contains(t, o.stderr, "strand: load: the run is invalid: generator-limited: of 100 operations one began ")
	require.Contains(t, o.stdout, "INVALID: generator-limited: ")

	o = run(t, exec.Command(strand, loadArgs(serve(t, nil, "--proto", "http", "--engine", "net").addr)...))
	require.Equal(t, 1, o.code, o.stderr)
	require.Regexp(t, `strand: load: nothing came back within the windows; the first fault: connection \d of 5 to `, o.stderr)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	o = run(t, exec.Command(strand, loadArgs(listener.Addr().String())...))
	require.Equal(t, 1, o.code)
	require.Regexp(t, `^strand: load: connection \d of 5 to [0-9.:]+: connect: connection refused\n$`, o.stderr)
}
