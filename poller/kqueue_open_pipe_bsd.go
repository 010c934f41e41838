//go:build (netbsd || openbsd) && !386 && !arm

package poller

import "github.com/strand-net/strand/poller/sys"

// open returns a Poller on kqueue(2). Older releases have no EVFILT_USER, so a pipe wakes it.
func open(kernel sys.Kernel) (Poller, error) { return NewKqueuePipe(kernel) }
