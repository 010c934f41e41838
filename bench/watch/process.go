// Package watch looks at a server process from outside while it is under load: processor time, memory, descriptors, context switches. Of
// servers with a control socket (package control) it asks besides what their runtime knows.
package watch

import (
	"errors"
	"fmt"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/strand-net/strand/bench/result"
)

// ErrNoListener is wrapped by the error of FindListener if no process of this machine listens on the address.
var ErrNoListener = errors.New("nobody listens there on this machine")

// Process is a process that is looked at. Its methods must not be called by two goroutines at the same time.
type Process struct {
	p *process.Process
	system
}

// Find finds the process with that id.
func Find(pid int) (*Process, error) {
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	w := &Process{p: p}
	if err := w.open(pid); err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return w, nil
}

// PID is the process's id.
func (w *Process) PID() int { return int(w.p.Pid) }

// Sample looks at the process now. It leaves At and Runtime alone, and PSS if the process is so large that finding it out would hold it up,
// unless exact is set. The error names the process; it is that of a process that has ended.
func (w *Process) Sample(exact bool) (result.Sample, error) {
	var s result.Sample
	if err := w.look(&s, exact); err != nil {
		return result.Sample{}, fmt.Errorf("process %d: %w", w.PID(), err)
	}
	return s, nil
}

// portable fills in what gopsutil knows on every system. Only processor time and memory must be known.
func (w *Process) portable(s *result.Sample) error {
	times, err := w.p.Times()
	if err != nil {
		return fmt.Errorf("CPU time: %w", err)
	}
	s.CPUUser, s.CPUSystem = times.User, times.System
	memory, err := w.p.MemoryInfo()
	if err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	if memory.RSS == 0 {
		return errors.New("it has ended") // and nobody has waited for it
	}
	s.RSS = int64(memory.RSS)
	if threads, err := w.p.NumThreads(); err == nil {
		s.Threads = int(threads)
	}
	return nil
}
