//go:build unix

package main

import (
	"os"
	"syscall"
)

// reloadSignals have another process of the same program take over.
var reloadSignals = []os.Signal{syscall.SIGHUP, syscall.SIGUSR2}
