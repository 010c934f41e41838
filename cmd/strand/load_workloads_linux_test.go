package main_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoadInRooms(t *testing.T) {
	s := serve(t, nil, "--proto", "broadcast")
	o := run(t, exec.Command(strand, loadArgs(s.addr, "--workload", "broadcast", "--conns", "9", "--rooms", "3", "--rate", "200")...))
	require.Equal(t, 0, o.code, o.stderr)
	require.Regexp(t, `^broadcast in 3 rooms, 9 connections, 64 B, 200/s constant\n`, o.stdout)
	require.Regexp(t, `\nbroadcast response +220 `, o.stdout)
	require.Regexp(t, `\ndelivery response +660 `, o.stdout)

	o = run(t, exec.Command(strand, loadArgs(s.addr, "--workload", "broadcast", "--rooms", "3", "--active", "2")...))
	require.Equal(t, 2, o.code)
	require.Contains(t, o.stderr, "rooms: 3 rooms need as many senders, and only 2 connections are active")
}
