package main_test

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/doctor"
)

func TestDoctor(t *testing.T) {
	o := run(t, exec.Command(strand, "doctor", "--conns", "1"))
	require.Equal(t, 0, o.code, o.stdout)
	require.Empty(t, o.stderr)
	require.Contains(t, o.stdout, "Can this machine hold 1 connections (both ends)? yes\n")

	o = run(t, exec.Command("sh", "-c", `ulimit -n 64; exec "$0" doctor --conns 1000 --json`, strand))
	require.Equal(t, 1, o.code)
	require.Equal(t, "strand: doctor: something is in the way\n", o.stderr)
	var report doctor.Report
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &report))
	require.False(t, report.OK)
	require.Equal(t, doctor.Bad, report.Findings[0].Level)
	require.Equal(t, "64", report.Findings[0].Value)
}
