//go:build !linux

package sys

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"
)

// Host is the kernel of this machine: one that strand cannot drive yet. Every call fails.
var Host Kernel = &host{}

type host struct{}

type readiness interface{}

func (*host) Listen(network, address string) (int, net.Addr, error) {
	return -1, nil, fmt.Errorf("strand: listen on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (*host) Accept(int) (int, netip.AddrPort, syscall.Errno) {
	return -1, netip.AddrPort{}, syscall.ENOSYS
}
func (*host) LocalAddr(int) (netip.AddrPort, syscall.Errno) { return netip.AddrPort{}, syscall.ENOSYS }
func (*host) Recv(int, []byte) (int, syscall.Errno)         { return 0, syscall.ENOSYS }
func (*host) Send(int, []byte) (int, syscall.Errno)         { return 0, syscall.ENOSYS }
func (*host) Sendv(int, [][]byte) (int, syscall.Errno)      { return 0, syscall.ENOSYS }
func (*host) Shutdown(int, int) syscall.Errno               { return syscall.ENOSYS }
func (*host) Close(int) syscall.Errno                       { return syscall.ENOSYS }
func (*host) Nanotime() int64                               { return 0 }
func (*host) NanotimeAt(time.Time) int64                    { return 0 }
