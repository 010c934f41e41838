package sys

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// errnoFrom is the number of an error of package net: what the operating system said, under the name that it has everywhere, or what comes
// nearest.
func errnoFrom(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return portableErrno(errno)
	case errors.Is(err, net.ErrClosed):
		return syscall.EBADF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return syscall.ETIMEDOUT
	case errors.Is(err, context.Canceled):
		return syscall.ECANCELED
	case errors.Is(err, errors.ErrUnsupported):
		return syscall.EOPNOTSUPP
	}
	return syscall.EIO
}
