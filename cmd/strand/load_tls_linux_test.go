package main_test

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoadOverTLS(t *testing.T) {
	flags, _ := certificate(t)
	s := serve(t, nil, append(flags, "--engine", "net")...)
	over := func(more ...string) *exec.Cmd { return exec.Command(strand, loadArgs(s.addr, more...)...) }
	o := run(t, over("--tls", "--tls-ca", flags[slices.Index(flags, "--tls-cert")+1], "--tls-name", "example.com"))
	require.Equal(t, 0, o.code, o.stderr)
	require.Regexp(t, `^echo over TLS, 5 connections, `, o.stdout)
	require.Regexp(t, `, in one window of 1\.\d+ s\n`, o.stdout)
	require.Equal(t, 0, run(t, over("--tls", "--tls-insecure", "--shards", "2")).code)
	o = run(t, over("--tls"))
	require.Equal(t, 1, o.code)
	require.Contains(t, o.stderr, "tls: failed to verify certificate")
	for _, flag := range []string{"--tls-insecure", "--tls-ca=x", "--tls-name=x", "--alpn=x"} {
		requireUsage(t, run(t, over(flag)), "it needs --tls")
	}
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.requireEnd(t)
}
