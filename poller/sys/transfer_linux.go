package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Sendfile tells the scheduler, unlike the others: it waits for the disk if the file's pages are not in memory.
func (*host) Sendfile(socket, file int, from *int64, n int) (int, syscall.Errno) {
	sending()
	sent, err := unix.Sendfile(socket, file, from, min(n, MaxTransfer))
	if err != nil {
		return 0, errnoOf(err)
	}
	return sent, 0
}

func (*host) Pipe() (r, w int, errno syscall.Errno) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return -1, -1, errnoOf(err)
	}
	_, _ = unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, MaxTransfer) // the user's share may be used up (pipe(7)); then it is smaller
	return ends[0], ends[1], 0
}

func (*host) Splice(from, to, n int) (int, syscall.Errno) {
	sending()
	moved, _, errno := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(min(n, MaxTransfer)),
		unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	if errno != 0 {
		return 0, errno
	}
	return int(moved), 0
}
