//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import "syscall"

func (*host) Control(fd int, do func(fd uintptr)) syscall.Errno {
	do(uintptr(fd))
	return 0
}

func (*host) Direct() bool { return true }
