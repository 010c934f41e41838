package main_test

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// socketsOf lists the sockets that a process has, and counts its pollers and the like. Files and pipes may be those of whoever runs
// the tests, or the runtime's.
func socketsOf(t *testing.T, pid int) (sockets []string, others int) {
	t.Helper()
	for _, target := range descriptorsOf(t, pid) {
		switch {
		case strings.HasPrefix(target, "socket:"):
			sockets = append(sockets, target)
		case strings.HasPrefix(target, "anon_inode:"):
			others++
		}
	}
	slices.Sort(sockets)
	return slices.Compact(sockets), others
}

// A new process has the listening socket of the old one and nothing else of it, and of what it was started with it keeps only that;
// also after several reloads.
func TestNewProcessHasOnlyTheSocket(t *testing.T) {
	for _, args := range []string{"--engine net", "--engine loop", "--engine coserver", "--proto http --engine net", "--proto http"} {
		t.Run(args, func(t *testing.T) {
			r := serveReloadable(t, append(strings.Fields(args), "--drain", "1h")...)
			visit := func() { // then it has all that it needs for that
				conn := (&serving{addr: r.addr}).request(t, "GET / HTTP/1.0\r\n\r\n")
				_, err := conn.ReadString('\n')
				require.NoError(t, err)
				require.NoError(t, conn.conn.Close())
			}
			visit()
			_, pollers := socketsOf(t, r.pid)
			for range 3 {
				idle, err := net.Dial("tcp", r.addr) // is there during the reload
				require.NoError(t, err)
				defer idle.Close()
				visit()
				before, _ := socketsOf(t, r.pid)
				r.reload(t, syscall.SIGHUP)
				visit()
				require.Eventually(t, func() bool {
					sockets, others := socketsOf(t, r.pid)
					return len(sockets) == 1 && slices.Contains(before, sockets[0]) && others == pollers
				}, patience, time.Millisecond)
			}
		})
	}
}
