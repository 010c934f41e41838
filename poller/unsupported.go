//go:build !linux

package poller

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/strand-net/strand/poller/sys"
)

// New fails with errors.ErrUnsupported: there is no backend for this operating system yet.
func New(sys.Kernel) (Poller, error) {
	return nil, fmt.Errorf("poller: no backend for %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
