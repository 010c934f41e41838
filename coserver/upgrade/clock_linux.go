package upgrade

import (
	"syscall"
	"unsafe"
)

// monotonicMicroseconds reads CLOCK_MONOTONIC, as clock_gettime(2) gives it and package time does not.
func monotonicMicroseconds() (int64, bool) {
	const clockMonotonic = 1
	var now syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	return now.Nano() / 1000, errno == 0
}
