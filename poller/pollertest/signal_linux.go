package pollertest

import (
	"os"

	"golang.org/x/sys/unix"
)

// interrupter returns a function that sends a signal to the calling thread (tgkill(2)).
func interrupter() func() error {
	pid, tid := os.Getpid(), unix.Gettid()
	return func() error { return unix.Tgkill(pid, tid, unix.SIGURG) }
}
