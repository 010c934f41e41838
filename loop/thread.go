package loop

// noteThread remembers the thread that the loop's goroutine is on. The Go scheduler may move it to another at any time; what
// others find out by it is a good guess.
func (l *Loop) noteThread() { l.thread.Store(int64(l.engine.kernel.Thread())) }

// Thread returns the thread that the loop's goroutine was on when its latest turn began, and how much processor time that one
// has used, in nanoseconds; false if it is not known. Safe from any goroutine.
func (l *Loop) Thread() (thread int, used int64, ok bool) {
	thread = int(l.thread.Load())
	used, ok = l.engine.kernel.ThreadTime(thread)
	return thread, used, ok
}

// CallerThread is Thread for the calling goroutine.
func (l *Loop) CallerThread() (thread int, used int64, ok bool) {
	thread = l.engine.kernel.Thread()
	used, ok = l.engine.kernel.ThreadTime(thread)
	return thread, used, ok
}

// Runnable reports whether a thread runs or would if it got a processor, and not that it waits for anything else; false also if
// it is not known. Safe from any goroutine.
func (l *Loop) Runnable(thread int) bool { return l.engine.kernel.Runnable(thread) }
