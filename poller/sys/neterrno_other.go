//go:build !windows

package sys

import "syscall"

func portableErrno(errno syscall.Errno) syscall.Errno { return errno }
