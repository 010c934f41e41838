//go:build !linux

package watch

import "github.com/strand-net/strand/bench/result"

type system struct{}

func (w *Process) open(int) error { return nil }

func (w *Process) look(s *result.Sample, _ bool) error {
	if err := w.portable(s); err != nil {
		return err
	}
	if fds, err := w.p.NumFDs(); err == nil {
		s.Descriptors = int(fds)
	}
	if switches, err := w.p.NumCtxSwitches(); err == nil {
		s.VoluntarySwitches, s.InvoluntarySwitches = switches.Voluntary, switches.Involuntary
	}
	return nil
}
