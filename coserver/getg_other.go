//go:build !amd64 && !arm64

package coserver

// canInline says whether a call can tell which goroutine it is on, and so whether a handler can run inline.
const canInline = false

// getg cannot tell goroutines apart here. 0 is the identity of none.
func getg() uintptr { return 0 }
