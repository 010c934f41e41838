//go:build linux || dragonfly || ((freebsd || netbsd) && !386 && !arm)

package sys

import (
	"net"

	"golang.org/x/sys/unix"
)

func keepAliveOptions(config net.KeepAliveConfig) [3]option {
	return [...]option{
		{unix.TCP_KEEPIDLE, seconds(config.Idle)},
		{unix.TCP_KEEPINTVL, seconds(config.Interval)},
		{unix.TCP_KEEPCNT, config.Count},
	}
}
