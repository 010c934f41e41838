package bench

import (
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// Process is a server that is watched from outside. Methods of a nil Process measure nothing and return zeros.
type Process struct{ p *process.Process }

// CPUTime is processor time of a process, at the resolution of the kernel's clock tick (10 ms on Linux).
type CPUTime struct{ User, System time.Duration }

// Watch finds the process with that id.
func Watch(pid int) (*Process, error) {
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &Process{p}, nil
}

func (p *Process) cpu() (CPUTime, error) {
	if p == nil {
		return CPUTime{}, nil
	}
	times, err := p.p.Times()
	if err != nil {
		return CPUTime{}, fmt.Errorf("CPU time of process %d: %w", p.p.Pid, err)
	}
	return CPUTime{User: seconds(times.User), System: seconds(times.System)}, nil
}

// rss is the resident memory, in bytes.
func (p *Process) rss() (int64, error) {
	if p == nil {
		return 0, nil
	}
	memory, err := p.p.MemoryInfo()
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", p.p.Pid, err)
	}
	return int64(memory.RSS), nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
