//go:build !(linux || darwin || dragonfly || freebsd || openbsd)

package load

import "time"

// machineClock is the machine's clock in ns: the one of the day, for no other is the same for all processes here. It may jump.
func machineClock() int64 { return time.Now().UnixNano() }
