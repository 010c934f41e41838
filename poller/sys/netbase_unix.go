//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

// netBase is what Net leaves to the machine: threads, and the readiness calls, which Net's own descriptors have no use for.
type netBase struct{ host }
