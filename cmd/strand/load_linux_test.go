package main_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
)

// loadArgs are those of a short run that no slow machine makes invalid.
func loadArgs(addr string, more ...string) []string {
	return append([]string{"load", addr, "--conns", "5", "--warmup", "50ms", "--duration", "1100ms",
		"--max-late=-1s", "--min-achieved=-1", "--max-busy=-1"}, more...)
}

func TestLoad(t *testing.T) {
	s := serve(t, nil)
	dir := t.TempDir()
	file, hlog := filepath.Join(dir, "result.json"), filepath.Join(dir, "log.hlog")
	o := run(t, exec.Command(strand, loadArgs(s.addr, "--rate", "500", "--tag", "why=test", "--json", file, "--hlog", hlog, "--slo", "errors==0")...))
	require.Equal(t, 0, o.code, o.stderr)
	require.Regexp(t, `^echo, 5 connections, 64 B, 500/s constant\n`, o.stdout)
	require.Regexp(t, `\necho response +550 `, o.stdout)
	require.Regexp(t, `\necho service +550 `, o.stdout)
	require.Regexp(t, `\nchecked +\d+ answers: 0 lost, 0 reordered, 0 duplicated, 0 corrupt\n`, o.stdout)
	require.Regexp(t, `(?m)^  0.0 s +\d+/s  p50 `, o.stderr, "a line a second")
	r, err := result.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 500.0, r.Target)
	require.Equal(t, map[string]string{"why": "test"}, r.Tags)
	require.Len(t, r.SLO, 1)
	require.True(t, logged(t, hlog).Equals(r.Operations["echo"].Response.Histogram), "the log has all that the result has")
}

// logged is the sum of all response times in a log.
func logged(t *testing.T, hlog string) *result.Histogram {
	log, err := os.Open(hlog)
	require.NoError(t, err)
	defer log.Close()
	reader, err := result.NewLogReader(log)
	require.NoError(t, err)
	sum := result.NewHistogram()
	for {
		entry, err := reader.Next()
		if err == io.EOF {
			return sum
		}
		require.NoError(t, err)
		if entry.Kind == result.KindResponse {
			require.NoError(t, sum.Add(entry.Histogram))
		}
	}
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
	require.Contains(t, o.stderr, "strand: load: the figures must not be believed: generator-limited: of 100 operations one began ")
	require.Contains(t, o.stdout, "INVALID     generator-limited: ")

	o = run(t, exec.Command(strand, loadArgs(s.addr, "--rate", "500", "--slo", "p50<1us")...))
	require.Equal(t, 99, o.code, o.stderr)
	require.Contains(t, o.stderr, "strand: load: objectives that were not kept: p50<1us")

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

// Shards are processes that begin at the same time, and whose results become one.
func TestLoadShards(t *testing.T) {
	s := serve(t, nil)
	dir := t.TempDir()
	file, hlog := filepath.Join(dir, "result.json"), filepath.Join(dir, "log.hlog")
	o := run(t, exec.Command(strand, loadArgs(s.addr, "--rate", "500", "--shards", "2", "--json", file, "--hlog="+hlog, "--slo", "errors==0")...))
	require.Equal(t, 0, o.code, o.stderr)
	r, err := result.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 5, r.Connect.Made)
	require.Equal(t, 2, r.Generator.Threads)
	require.InDelta(t, 550, r.Operations["echo"].Count, 2)
	require.Len(t, r.SLO, 1)
	require.FileExists(t, hlog)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	o = run(t, exec.Command(strand, loadArgs(listener.Addr().String(), "--shards", "2")...))
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "connect: connection refused")
	require.Regexp(t, `strand: load: shard \d: connection \d of 5 to `, o.stderr)
}
