//go:build !linux

package watch

import (
	"errors"
	"fmt"
)

// FindListener returns the id of the process of this machine that listens on address. It can be found out on Linux alone.
func FindListener(network, address string) (int, error) {
	return 0, fmt.Errorf("watch: listener on %s %s: which process it is: %w: name it by its id", network, address, errors.ErrUnsupported)
}
