package coserver

import (
	"log/slog"

	"github.com/strand-net/strand/loop"
	"github.com/strand-net/strand/poller/sys"
)

// NewEngineOn returns an engine of one loop on a kernel of the test's.
func NewEngineOn(kernel sys.Kernel) (*Engine, error) {
	return newEngine(EngineConfig{MaxGoroutines: 1000, TakeOverAfter: -1}, loop.Config{Loops: 1, Kernel: kernel, Logger: slog.New(slog.DiscardHandler)})
}

// NewEngineWith is NewEngine with a configuration of its loops.
var NewEngineWith = newEngine

// MonitorSleeps reports whether nobody looks after an engine's loops, for there is nothing to see.
func MonitorSleeps(e *Engine) bool { return e.monitor.asleep.Load() }
