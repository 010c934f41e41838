//go:build unix

package main_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/control"
	"github.com/strand-net/strand/bench/watch"
)

// A server tells of itself while it serves, and can be watched by its control socket alone. Afterwards the socket's file is gone.
func TestServeControl(t *testing.T) {
	for _, engine := range []string{"net", "loop", "coserver"} {
		t.Run(engine, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "control")
			s := serve(t, nil, "--engine", engine, "--control", "unix:"+path)
			line, err := s.stdout.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "control on "+path+"\n", line)
			client, err := control.NewClient("unix:" + path)
			require.NoError(t, err)
			defer client.Close()
			state, err := client.State(t.Context())
			require.NoError(t, err)
			require.Equal(t, s.cmd.Process.Pid, state.PID)
			require.Positive(t, state.Runtime.Goroutines)
			profile, err := client.Profile(t.Context(), 10*time.Millisecond)
			require.NoError(t, err)
			require.NotEmpty(t, profile)

			w, err := watch.Start(t.Context(), watch.Options{Name: engine, Control: "unix:" + path})
			require.NoError(t, err)
			require.NoError(t, w.Look(t.Context(), watch.Before))
			s.dial(t)
			require.NoError(t, w.Look(t.Context(), watch.Idle))
			outcome, err := w.Stop()
			require.NoError(t, err)
			require.Equal(t, s.cmd.Process.Pid, outcome.Server.PID)
			require.NotNil(t, outcome.Server.Idle.Runtime)

			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			if engine != "coserver" { // which knows that the connection is idle
				require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			}
			s.cmd.Wait()
			_, err = os.Stat(path)
			require.ErrorIs(t, err, os.ErrNotExist)
		})
	}
}

func TestFindServer(t *testing.T) {
	s := serve(t, nil)
	pid, err := watch.FindListener("tcp", s.addr)
	if err != nil {
		require.ErrorIs(t, err, errors.ErrUnsupported) // elsewhere than on Linux
		return
	}
	require.Equal(t, s.cmd.Process.Pid, pid)
}
