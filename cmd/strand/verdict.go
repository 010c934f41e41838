package main

import (
	"fmt"
	"strings"

	"github.com/strand-net/strand/bench/result"
)

// verdictError is how a command ends whose measurement was made, but must not be believed or has not kept its objectives.
type verdictError struct {
	code int
	text string
}

func (e verdictError) Error() string { return e.text }

// verdict is the error that a command with this result ends with: nil for a good one.
func verdict(r *result.Run) error {
	switch code := r.ExitCode(); code {
	case result.ExitOK:
		return nil
	case result.ExitError:
		return verdictError{code, "the run was interrupted"}
	case result.ExitInvalid:
		return verdictError{code, "the figures must not be believed: " + strings.Join(r.Invalid, "; ")}
	default:
		var missed []string
		for _, o := range r.SLO {
			switch {
			case o.OK:
			case o.Reason != "":
				missed = append(missed, fmt.Sprintf("%s (%s)", o.Expression, o.Reason))
			default:
				missed = append(missed, fmt.Sprintf("%s (it was %.4g)", o.Expression, o.Value))
			}
		}
		return verdictError{code, "objectives that were not kept: " + strings.Join(missed, "; ")}
	}
}
