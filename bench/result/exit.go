package result

// Exit codes of what measures: of a load run, of a merge, of a search.
const (
	ExitOK        = 0
	ExitError     = 1  // it could not be done
	ExitInvalid   = 2  // the figures must not be believed, or the usage was bad
	ExitObjective = 99 // an objective was not kept
)

// ExitCode is the code that r calls for. Of a run that was interrupted or is invalid it does not matter what the objectives came to.
func (r *Run) ExitCode() int {
	if r.Interrupted {
		return ExitError
	}
	if len(r.Invalid) > 0 {
		return ExitInvalid
	}
	for _, o := range r.SLO {
		if !o.OK {
			return ExitObjective
		}
	}
	return ExitOK
}
