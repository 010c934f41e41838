//go:build !linux

package bench

import (
	"net/netip"
	"syscall"
)

// There is no poller for this operating system yet, so none of these is ever reached.

func openSocket(netip.AddrPort) (int, syscall.Errno)  { return -1, syscall.ENOSYS }
func connectSocket(int, netip.AddrPort) syscall.Errno { return syscall.ENOSYS }
func socketError(int) syscall.Errno                   { return syscall.ENOSYS }
