package upgrade

import "golang.org/x/sys/unix"

// monotonicMicroseconds reads CLOCK_MONOTONIC, as clock_gettime(2) gives it and package time does not.
func monotonicMicroseconds() (int64, bool) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano() / 1000, err == nil
}
