package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Ended does not wait, so nobody need be told of it but the kernel.
func (*host) Ended(fd int) (ended, failed bool, errno syscall.Errno) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		_, err := unix.Poll(fds, 0)
		if err == nil {
			break
		}
		if errno := errnoOf(err); errno != syscall.EINTR {
			return false, false, errno
		}
	}
	events := fds[0].Revents
	return events&(unix.POLLRDHUP|unix.POLLHUP) != 0, events&unix.POLLERR != 0, 0
}
