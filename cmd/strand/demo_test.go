//go:build unix

package main_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The demo needs nothing but itself, explains what it shows, and ends well, for the sequential server keeps the order.
func TestDemoOrder(t *testing.T) {
	o := run(t, exec.Command(strand, "demo", "order", "--clients", "2", "--delay", "300ms"))
	require.Equal(t, 0, o.code, o.stderr)
	require.Empty(t, o.stderr)
	asynchronous, sequential, found := strings.Cut(o.stdout, "2. Sequential")
	require.True(t, found, o.stdout)
	for _, words := range []string{"a Redis server inside this process", "1. Asynchronous", "OnOpen", "OnData", "OnClose"} {
		require.Contains(t, asynchronous, words)
	}
	require.Contains(t, sequential, "2 of 2 clients were told their own value")
	require.NotContains(t, sequential, "nil")
	for _, client := range []string{"client 1", "client 2"} {
		_, steps, found := strings.Cut(sequential, "   "+client+"\n")
		require.True(t, found)
		for _, words := range []string{"begins", `SET "` + client, `has received "hello"`, `GET gives "` + client, "has gone"} {
			_, steps, found = strings.Cut(steps, words)
			require.True(t, found, "%s of %s in %s", words, client, sequential)
		}
	}
}

func TestDemoOrderBadUsage(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := taken.Addr().String()
	require.NoError(t, taken.Close())
	for args, words := range map[string][]string{
		"--clients 0":             {"demo order: clients: 0 is not from 1 to 1000"},
		"--delay=-1s":             {"demo order: delay: -1s is negative"},
		"--redis nonsense":        {"demo order: redis: address nonsense: missing port"},
		"--redis " + addr:         {"demo order: redis: dial tcp " + addr, "connection refused"},
		"--redis /no/such/socket": {"demo order: redis: dial unix /no/such/socket", "no such file"},
	} {
		requireUsage(t, run(t, exec.Command(strand, append([]string{"demo", "order"}, strings.Fields(args)...)...)), words...)
	}
}

func TestDemoOrderIsInterrupted(t *testing.T) {
	redis, err := net.Listen("tcp", "127.0.0.1:0") // which never answers
	require.NoError(t, err)
	defer redis.Close()
	cmd := exec.Command(strand, "demo", "order", "--redis", redis.Addr().String())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	c, err := redis.Accept()
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Equal(t, "strand: demo order: interrupted\n", stderr.String())
}
