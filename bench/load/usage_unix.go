//go:build unix

package load

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// usage is what this process has used: processor time in seconds, and the most memory in bytes (getrusage(2)).
func usage() (user, system float64, maxRSS int64) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, 0, 0
	}
	unit := int64(1 << 10)
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" { // it counts bytes, the others KiB
		unit = 1
	}
	return float64(u.Utime.Nano()) / 1e9, float64(u.Stime.Nano()) / 1e9, int64(u.Maxrss) * unit
}
