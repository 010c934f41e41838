package bsdtest

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/sys"
)

// Kernel is a [sys.Kernel] and a [sys.Kqueue]. Its methods are safe from any goroutine.
type Kernel struct {
	sys.Kernel

	// NoUser takes away EVFILT_USER, as in older releases of NetBSD and OpenBSD, NoExcept takes away EVFILT_EXCEPT, as on FreeBSD
	// and NetBSD.
	NoUser, NoExcept bool

	// OneWay refuses EVFILT_WRITE for what is open for reading only (EINVAL). Without, such a filter tells only of the end, as where
	// pipes work in both directions (FreeBSD, pipe(2)).
	OneWay bool

	mu     sync.Mutex
	queues map[int]*queue
}

// New returns the kernel of this machine with a kqueue.
func New() *Kernel { return &Kernel{Kernel: sys.Host, queues: make(map[int]*queue)} }

// EpollCreate fails: there is no such call.
func (*Kernel) EpollCreate() (int, syscall.Errno) { return -1, syscall.ENOSYS }

// Close is close(2). It removes the events that refer to the descriptor (kqueue(2), DESCRIPTION).
func (k *Kernel) Close(fd int) syscall.Errno {
	k.mu.Lock()
	if q := k.queues[fd]; q != nil {
		delete(k.queues, fd)
		k.mu.Unlock()
		q.close()
		return k.Kernel.Close(fd)
	}
	queues := make([]*queue, 0, len(k.queues))
	for _, q := range k.queues {
		queues = append(queues, q)
	}
	k.mu.Unlock()
	for _, q := range queues {
		q.forget(fd)
	}
	return k.Kernel.Close(fd)
}

// WakePipe is pipe(2).
func (k *Kernel) WakePipe() (r, w int, errno syscall.Errno) {
	var ends [2]int
	err := unix.Pipe2(ends[:], unix.O_NONBLOCK|unix.O_CLOEXEC)
	return ends[0], ends[1], number(err)
}

// PutByte is write(2). It is called as it is, for what package unix adds for the race detector would be an allocation.
func (k *Kernel) PutByte(w int) syscall.Errno {
	var one byte
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(w), uintptr(unsafe.Pointer(&one)), 1)
	return errno
}

// TakeBytes is read(2), as often as it returns something.
func (k *Kernel) TakeBytes(r int) syscall.Errno {
	var bytes [512]byte
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(r), uintptr(unsafe.Pointer(&bytes[0])), uintptr(len(bytes)))
		switch {
		case errno == unix.EAGAIN || errno == 0 && int(n) < len(bytes):
			return 0
		case errno != 0 && errno != unix.EINTR:
			return errno
		}
	}
}

// number undoes the boxing of package unix.
func number(err error) syscall.Errno {
	errno, _ := err.(syscall.Errno)
	return errno
}
