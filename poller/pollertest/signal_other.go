//go:build unix && !linux

package pollertest

import (
	"os"

	"golang.org/x/sys/unix"
)

// interrupter returns a function that sends a signal to the process. The kernel chooses the thread.
func interrupter() func() error {
	pid := os.Getpid()
	return func() error { return unix.Kill(pid, unix.SIGURG) }
}
