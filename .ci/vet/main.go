// Command vet is go vet without a compiler: what a package imports it reads from source, where go vet takes it from compiled code, and to compile
// the standard library for another machine takes a minute. So checking what is not run here is ten times quicker.
package main

import (
	"golang.org/x/tools/go/analysis/multichecker"
	"golang.org/x/tools/go/analysis/suite/vet"
)

func main() { multichecker.Main(vet.Suite...) }
