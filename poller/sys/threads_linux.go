package sys

import (
	"bytes"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func (*host) Thread() int {
	id, _, _ := syscall.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
	return int(id)
}

func (*host) ThreadTime(thread int) (int64, bool) {
	var used unix.Timespec
	if thread <= 0 || unix.ClockGettime(threadClock(thread), &used) != nil {
		return 0, false
	}
	return used.Nano(), true
}

// threadClock names the clock of the processor time that a thread has used, as pthread_getcpuclockid(3) does: the complement of
// the thread, and three bits that say that it is a thread (4) and that the scheduler's own account is meant (2).
func threadClock(thread int) int32 { return int32(^thread<<3 | 4 | 2) }

// Runnable reads the state out of /proc/self/task/TID/stat: the letter after the name, which is in parentheses and may have any
// in it itself (proc_pid_stat(5)).
func (*host) Runnable(thread int) bool {
	fd, err := unix.Open("/proc/self/task/"+strconv.Itoa(thread)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var stat [128]byte // the name is 15 bytes at most, and of escapes 64
	n, err := unix.Read(fd, stat[:])
	if err != nil {
		return false
	}
	_, state, found := bytes.Cut(stat[bytes.LastIndexByte(stat[:n], ')')+1:n], []byte(" "))
	return found && len(state) > 0 && state[0] == 'R'
}
