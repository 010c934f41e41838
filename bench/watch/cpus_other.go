//go:build !linux

package watch

import (
	"errors"
	"fmt"
	"os/exec"
)

// Start starts cmd. Only on Linux can it be on certain processors alone.
func (c CPUs) Start(cmd *exec.Cmd) error {
	if err := c.Use(); err != nil {
		return err
	}
	return cmd.Start()
}

// Use fails if there are any processors in c: only on Linux can they be chosen.
func (c CPUs) Use() error {
	if len(c) == 0 {
		return nil
	}
	return fmt.Errorf("processors %v: %w", c, errors.ErrUnsupported)
}
