//go:build linux || darwin || dragonfly || freebsd || openbsd

package load

import "golang.org/x/sys/unix"

// machineClock is the machine's clock that does not jump, the same for all processes (CLOCK_MONOTONIC, clock_gettime(2)), in ns.
func machineClock() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // all of these have it
	}
	return now.Nano()
}
