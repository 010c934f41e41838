//go:build !(linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm))

package poller

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/strand-net/strand/poller/sys"
)

// open fails with errors.ErrUnsupported: there is no backend for system calls on this operating system. New takes sys.Host all the same.
func open(sys.Kernel) (Poller, error) {
	return nil, fmt.Errorf("poller: no backend for %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
