package coserver

import "runtime"

// Offload runs f where it may block or compute as long as it likes, on a goroutine of the engine's pool, and returns when f has.
// An inline handler is parked meanwhile, and its loop goes on; whoever else calls it runs f itself. A panic or a
// runtime.Goexit in f is the caller's. It fails with ErrTooManyGoroutines, and has not run f then.
func Offload(f func()) error {
	t := currentTask()
	if t == nil {
		f()
		return nil
	}
	w := &offloaded{f: f}
	if err := t.reactor.engine.spawn(w.run); err != nil {
		return err
	}
	w.done.wait()
	switch {
	case w.panicked != nil:
		panic(w.panicked)
	case !w.returned:
		runtime.Goexit()
	}
	return nil
}

// offloaded is work on a goroutine that is not its caller's.
type offloaded struct {
	f        func()
	done     notice
	returned bool
	panicked any
}

func (w *offloaded) run() {
	defer func() {
		if !w.returned {
			w.panicked = recover()
		}
		w.done.give()
	}()
	w.f()
	w.returned = true
}
