package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// descriptorsOf lists the sockets, by their names, and counts the pollers and the like that a process has open. Files and pipes may be
// those of whoever runs the tests, or the runtime's.
func descriptorsOf(t *testing.T, pid int) (sockets []string, others int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		link, err := os.Readlink(filepath.Join(dir, entry.Name()))
		switch {
		case err != nil: // closed by now
		case strings.HasPrefix(link, "socket:"):
			sockets = append(sockets, link)
		case strings.HasPrefix(link, "anon_inode:"):
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
			_, pollers := descriptorsOf(t, r.pid)
			for range 3 {
				idle, err := net.Dial("tcp", r.addr) // is there during the reload
				require.NoError(t, err)
				defer idle.Close()
				visit()
				before, _ := descriptorsOf(t, r.pid)
				r.reload(t, syscall.SIGHUP)
				visit()
				require.Eventually(t, func() bool {
					sockets, others := descriptorsOf(t, r.pid)
					return len(sockets) == 1 && slices.Contains(before, sockets[0]) && others == pollers
				}, patience, time.Millisecond)
			}
		})
	}
}
