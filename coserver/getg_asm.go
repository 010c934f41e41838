//go:build amd64 || arm64

package coserver

// canInline says whether a call can tell which goroutine it is on, and so whether a handler can run inline.
const canInline = true

// getg returns an identity of the calling goroutine: the address of its g, which is its own for as long as it lives
// and may be another's afterwards. It is a number, to be compared and nothing else.
//
//go:noescape
func getg() uintptr
