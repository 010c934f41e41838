package loop

import "fmt"

// Left tells what a loop that has ended still holds.
func Left(l *Loop) string {
	<-l.done
	slots := 0
	l.slots.each(func(watched) { slots++ })
	if slots == 0 && !l.timers.any() && !l.ready.any() && !l.posted.any() && len(l.flushes.conns) == 0 {
		return ""
	}
	return fmt.Sprintf("%d slots, %d timers, %d requeued, %d posted, %d flushes left", slots, len(l.timers.heap),
		len(l.ready.items), len(l.posted.items), len(l.flushes.conns))
}

// Sockets returns how many sockets a loop has, or will have soon.
func Sockets(l *Loop) int64 { return l.sockets.Load() }
