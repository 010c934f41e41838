//go:build !linux

package load

import (
	"net"
	"net/netip"
	"syscall"

	"github.com/strand-net/strand/poller"
)

// There is no poller for this operating system yet, so Run fails before any of these is reached.

func openSocket(net.Addr, netip.Addr) (int, error) { return -1, syscall.ENOSYS }
func connectSocket(int, net.Addr) syscall.Errno    { return syscall.ENOSYS }
func socketError(int) syscall.Errno                { return syscall.ENOSYS }
func machineClock() int64                          { return 0 }
func usage() (user, system float64, rss int64)     { return 0, 0, 0 }

type alarm struct{}

func newAlarm(poller.Poller, int64) (alarm, error) { return alarm{}, nil }
func (*alarm) set(int64) bool                      { return false }
func (*alarm) close()                              {}
