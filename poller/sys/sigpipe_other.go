//go:build linux || (openbsd && !386 && !arm)

package sys

// refuseSignal has nothing to do: each call says that it wants no SIGPIPE (send(2), MSG_NOSIGNAL).
func refuseSignal(int) {}
