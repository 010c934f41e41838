//go:build !(linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm))

package sys

import (
	"context"
	"net"
	"syscall"
)

// Host is the kernel of this machine: the one over package net, for strand has no system calls of its own here.
var Host Kernel = Net

// These are no errors here: two numbers that nobody uses, and that are none of package syscall's.
const (
	ENONET    syscall.Errno = 1<<31 - 1
	EHOSTDOWN syscall.Errno = 1<<31 - 2
)

type readiness interface{}

// Listen is the Listen of config.
func Listen(config *net.ListenConfig, network, address string) (net.Listener, error) {
	return config.Listen(context.Background(), network, address)
}

// netBase is what Net leaves to the machine. Of threads nothing is known here.
type netBase struct{}

func (netBase) Thread() int                  { return 0 }
func (netBase) ThreadTime(int) (int64, bool) { return 0, false }
func (netBase) Runnable(int) bool            { return false }
