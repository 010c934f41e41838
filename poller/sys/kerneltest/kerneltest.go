// Package kerneltest runs the tests of this machine on the system calls and the poller that another machine would have: the
// environment variable STRAND_KERNEL says which. Only tests may import it.
package kerneltest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Variable names the environment variable that chooses a substitute. Without it, or if it is empty, the tests run on the machine's
// own kernel.
const Variable = "STRAND_KERNEL"

// substitutes replace sys.Host and poller.Backend, by the value of Variable. Each file that has one adds it when the package is
// initialised: not every machine can run every one.
var substitutes = map[string]func(){}

// Substitute does what STRAND_KERNEL asks for. It must be called in TestMain before anything else, and ends the process if it
// cannot be done.
func Substitute() {
	if err := substitute(os.Getenv(Variable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func substitute(name string) error {
	if name == "" {
		return nil
	}
	replace, found := substitutes[name]
	if !found {
		return fmt.Errorf("kerneltest: %s is %q; this machine has: %s", Variable, name,
			strings.Join(slices.Sorted(maps.Keys(substitutes)), ", "))
	}
	replace()
	return nil
}
