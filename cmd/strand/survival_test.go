//go:build unix

package main_test

import (
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var everyEngine = []string{"net", "loop", "coserver --carrier inline", "coserver --carrier channel"}

// faults.md L11: peers that reset their connections while the server writes do not end it, by a signal or otherwise.
func TestResetsWhileWriting(t *testing.T) {
	for _, engine := range everyEngine {
		t.Run(engine, func(t *testing.T) {
			s := serve(t, nil, strings.Fields("--engine "+engine)...)
			stays := s.dial(t)
			for i := range 100 {
				c, err := dialClient(s.addr, i)
				require.NoError(t, err)
				_, err = c.Write(c.bytes(200_000)) // all of it is on its way back when the connection is cut
				require.NoError(t, err)
				require.NoError(t, c.SetLinger(0))
				require.NoError(t, c.Close())
			}
			s.exchange(t, stays)
			require.NoError(t, stays.Close())
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			s.requireEnd(t)
		})
	}
}

// faults.md N8: a server that is started without standard files serves, whatever numbers its descriptors have.
func TestNoStandardFiles(t *testing.T) {
	for _, engine := range everyEngine {
		t.Run(engine, func(t *testing.T) {
			free, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			addr := free.Addr().String() // nobody tells us which port it is otherwise
			require.NoError(t, free.Close())
			cmd := exec.Command("sh", "-c", `exec "$0" serve --addr "$@" <&- >&- 2>&-`, strand, addr)
			cmd.Args = append(cmd.Args, strings.Fields("--engine "+engine)...)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() {
				cmd.Process.Kill()
				cmd.Wait()
			})
			require.Eventually(t, func() bool { return visit(addr, 0, 3, false) == nil }, patience, time.Millisecond)
			for i := range 10 {
				require.NoError(t, visit(addr, i, 3, true))
			}
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			require.NoError(t, cmd.Wait())
		})
	}
}
