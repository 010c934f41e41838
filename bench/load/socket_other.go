//go:build !linux

package load

import (
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// openSocket begins to connect as well, for package sys has no call that does not.
func openSocket(remote net.Addr, source netip.Addr) (int, error) {
	if !source.IsValid() {
		return sys.Host.Connect(nil, remote)
	}
	return sys.Host.Connect(&net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()}, remote)
}

func connectSocket(int, net.Addr) syscall.Errno { return syscall.EINPROGRESS }

// socketError is asked when the descriptor has become writable, which ends the attempt.
func socketError(fd int) syscall.Errno { return sys.Host.Connected(fd) }

// machineClock is the clock that all processes have, in ns. It jumps when it is set.
func machineClock() int64 { return time.Now().UnixNano() }

// usage is not known.
func usage() (user, system float64, rss int64) { return 0, 0, 0 }

// alarm never rings: the poller is given a timeout instead.
type alarm struct{}

func newAlarm(poller.Poller, int64) (alarm, error) { return alarm{}, nil }
func (*alarm) set(int64) bool                      { return false }
func (*alarm) close()                              {}
