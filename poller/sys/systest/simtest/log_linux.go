package simtest

import (
	"context"
	"log/slog"
	"slices"
)

// logWatcher looks for messages that mean a failure.
type logWatcher struct {
	slog.Handler
	sim       *Sim
	forbidden []string
}

func (w *logWatcher) Enabled(context.Context, slog.Level) bool { return true }

func (w *logWatcher) Handle(_ context.Context, r slog.Record) error {
	if slices.Contains(w.forbidden, r.Message) {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool {
			text += " " + a.String()
			return true
		})
		w.sim.Wrong("logged: %s", text)
	}
	return nil
}
