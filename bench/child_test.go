package bench_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench"
)

func startChild(t *testing.T, ctx context.Context, mode string) (*bench.Child, error) {
	t.Setenv(childMode, mode)
	self, err := os.Executable()
	require.NoError(t, err)
	return bench.StartChild(ctx, self)
}

func TestChildListens(t *testing.T) {
	child, err := startChild(t, t.Context(), "waits")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1", child.Addr)
	_, err = bench.Watch(child.PID())
	require.NoError(t, err)
	child.Stop()
	_, err = bench.Watch(child.PID())
	require.ErrorContains(t, err, "process ")
}

func TestChildFails(t *testing.T) {
	_, err := startChild(t, t.Context(), "dies")
	require.EqualError(t, err, "ended before it listened; it said: no luck today")
	_, err = startChild(t, t.Context(), "babbles")
	require.EqualError(t, err, `said "hello" where it should say where it listens`)
	_, err = bench.StartChild(t.Context(), "/nonexistent/strand")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestChildEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := startChild(t, ctx, "silent")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
