//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import (
	"runtime/debug"
	"slices"
	"syscall"
)

// What happens before a send happens before its receipt. Package syscall tells the race detector so of its own calls, by an
// address that both ends meet at; of the raw calls here it knows nothing, and a program whose goroutines take turns by
// messages would be reported. (Going through package syscall for the transfers themselves costs more than half of what the
// engine gains: docs/adr/0006.) So a program that is built with -race also makes a call of that package that moves nothing.
var detecting = slices.ContainsFunc(settings(), func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })

func settings() []debug.BuildSetting {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Settings
	}
	return nil
}

// sending comes before a call that sends.
func sending() {
	if detecting {
		_, _ = syscall.Write(-1, nil)
	}
}
