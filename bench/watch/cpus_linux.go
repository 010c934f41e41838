package watch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

func (c CPUs) set() *unix.CPUSet {
	var set unix.CPUSet
	for _, cpu := range c {
		set.Set(cpu)
	}
	return &set
}

// Start starts cmd on these processors alone: it has them from its first instruction on, so that a Go program sees as many.
func (c CPUs) Start(cmd *exec.Cmd) error {
	if len(c) == 0 {
		return cmd.Start()
	}
	// A child has the processors of the thread that made it (sched_setaffinity(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var own unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		return fmt.Errorf("processors: %w", err)
	}
	err := c.use(0)
	if err == nil {
		err = cmd.Start()
	}
	if back := unix.SchedSetaffinity(0, &own); back != nil {
		err = errors.Join(err, fmt.Errorf("processors: %w", back))
	}
	return err
}

// Use moves all threads of this process to these processors. New ones have them from the thread that makes them. GOMAXPROCS is the
// caller's business.
func (c CPUs) Use() error {
	if len(c) == 0 {
		return nil
	}
	done := make(map[int]bool)
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("processors: %w", err)
		}
		moved := false
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil || done[id] {
				continue
			}
			if err := c.use(id); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
			done[id], moved = true, true
		}
		if !moved { // none has been made meanwhile by one that had not been moved
			return nil
		}
	}
}

// use moves one thread; 0 is the calling one.
func (c CPUs) use(thread int) error {
	err := unix.SchedSetaffinity(thread, c.set())
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("processors: this process may use none of %v", c)
	}
	if err != nil {
		return fmt.Errorf("processors %v: %w", c, err)
	}
	// The kernel leaves out those that are not there.
	var got unix.CPUSet
	if err := unix.SchedGetaffinity(thread, &got); err == nil && got != *c.set() {
		return fmt.Errorf("processors: this process may not use all of %v", c)
	}
	return nil
}
