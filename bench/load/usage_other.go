//go:build !unix

package load

import (
	"os"

	"github.com/shirou/gopsutil/v4/process"
)

// usage is what this process has used: processor time in seconds, and memory in bytes, which is what it has now. What the operating
// system does not tell is 0.
func usage() (user, system float64, rss int64) {
	self, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		return 0, 0, 0
	}
	if times, err := self.Times(); err == nil {
		user, system = times.User, times.System
	}
	if memory, err := self.MemoryInfo(); err == nil {
		rss = int64(memory.RSS)
	}
	return user, system, rss
}
