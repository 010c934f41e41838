package coserver

import (
	"sync"
	"sync/atomic"
)

// currentTask returns the task that the calling goroutine is, if it is a coroutine of any engine.
func currentTask() *task {
	if !canInline {
		return nil
	}
	for _, e := range engines.list() {
		for i := range e.reactors {
			if t := e.reactors[i].running.Load(); t != nil && t.isCaller() {
				return t
			}
		}
	}
	return strays.find()
}

// strays are the tasks that have been apart from their loops once. They cannot be found as what a loop runs.
var strays strayTasks

type strayTasks struct {
	count atomic.Int64
	byG   sync.Map // g to *task; what it has for a g may be over, and find asks the task
}

// add makes t known. Safe from any goroutine, also while t ends.
func (s *strayTasks) add(t *task) {
	s.count.Add(1)
	g := t.g.Load()
	if g == 0 {
		s.count.Add(-1)
		return
	}
	if _, had := s.byG.Swap(g, t); had {
		s.count.Add(-1)
	}
	if t.g.Load() == 0 { // it has ended, and may have been forgotten already
		s.forget(t, g)
	}
}

// forget ends add, when the task has ended that ran on g.
func (s *strayTasks) forget(t *task, g uintptr) {
	if s.count.Load() > 0 && s.byG.CompareAndDelete(g, t) {
		s.count.Add(-1)
	}
}

// find returns the task that the caller is, or nil.
func (s *strayTasks) find() *task {
	if s.count.Load() == 0 {
		return nil
	}
	if t, ok := s.byG.Load(getg()); ok && t.(*task).isCaller() {
		return t.(*task)
	}
	return nil
}
