//go:build race

package sys

import (
	"runtime"
	"syscall"
	"unsafe"
)

// The race detector does not see raw system calls. So it is told here what package syscall tells it of its own: what the calls
// read and write, and that what happens before a send happens before a receive. The variable that stands for the
// latter is package syscall's, and connections of package net must meet the same, so it is reached by calls that do nothing.

// sending comes before a call that sends p.
func sending(p []byte) {
	if len(p) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(p)), len(p))
	}
	_, _ = syscall.Write(-1, nil) // releases, and fails
}

// received comes after a call that has filled p. It did so after the data had been sent, for it does not wait: hence the order.
func received(fd int, p []byte) {
	_, _ = syscall.Read(fd, nil) // reads nothing, and acquires
	if len(p) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(p)), len(p))
	}
}
