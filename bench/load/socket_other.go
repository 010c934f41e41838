//go:build !linux

package load

import (
	"errors"
	"net"
	"net/netip"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// native: what this package does by system calls of its own it does on Linux alone.
func native(sys.Kernel) bool { return false }

func connectNative(net.Addr, netip.Addr) (int, error) { return -1, errors.ErrUnsupported }

func unacknowledged(int) int { return 0 }

// alarm is none: the poller has a timeout.
type alarm struct{}

func newAlarm(poller.Poller, sys.Kernel) (alarm, error) { return alarm{}, nil }
func (*alarm) set(int64) bool                           { return false }
func (*alarm) close()                                   {}
