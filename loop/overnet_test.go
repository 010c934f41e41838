package loop_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/sys"
)

// An engine runs over package net where that is asked for. (make portable runs all tests so.)
func TestOverNet(t *testing.T) {
	e := newEngine(t, loop.Config{OverNet: true})
	for _, network := range []string{"tcp", "tcp6", "unix"} {
		ln := startService(t, e, network, loop.Service{Handler: callbacks{data: echo}})
		for range 10 {
			exchange(t, dial(t, ln.Addr()), "there and back")
		}
	}
	_, err := loop.NewEngine(loop.Config{OverNet: true, Kernel: sys.Host})
	require.ErrorContains(t, err, "Config.OverNet and Config.Kernel are both set")
}
