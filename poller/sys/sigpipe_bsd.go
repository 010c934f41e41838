//go:build darwin || dragonfly || ((freebsd || netbsd) && !386 && !arm)

package sys

import "golang.org/x/sys/unix"

// refuseSignal keeps a write to a connection that is closed from sending SIGPIPE (setsockopt(2), SO_NOSIGPIPE). Without, the Go
// runtime ignores the signal, unless the program asks for it.
func refuseSignal(fd int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NOSIGPIPE, 1) }
