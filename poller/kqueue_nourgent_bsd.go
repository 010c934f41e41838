//go:build (freebsd || netbsd) && !386 && !arm

package poller

import "github.com/strand-net/strand/poller/sys"

// allFilters is without one for out-of-band data: there is none.
const allFilters = filterRead | filterWrite

func urgent(change sys.Kevent) sys.Kevent { return change }
