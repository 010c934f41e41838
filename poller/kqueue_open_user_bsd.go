//go:build darwin || dragonfly || (freebsd && !386 && !arm)

package poller

import "github.com/strand-net/strand/poller/sys"

// open returns a Poller on kqueue(2).
func open(kernel sys.Kernel) (Poller, error) { return NewKqueue(kernel) }
