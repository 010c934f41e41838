//go:build linux || darwin || dragonfly || (openbsd && !386 && !arm)

package poller

import "github.com/strand-net/strand/poller/sys"

const allFilters = filterRead | filterWrite | filterUrgent

// urgent makes a change one of the filter that tells of out-of-band data (kevent(2), EVFILT_EXCEPT).
func urgent(change sys.Kevent) sys.Kevent {
	change.Filter, change.Fflags = sys.EVFILT_EXCEPT, sys.NOTE_OOB
	return change
}
