//go:build !unix

package main

import "os"

// reloadSignals is empty: no process can take over here.
var reloadSignals []os.Signal
