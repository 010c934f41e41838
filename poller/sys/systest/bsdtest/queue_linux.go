package bsdtest

import (
	"math"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/sys"
)

// queue is a kqueue. Its descriptor is an epoll instance over those of the filters, and over an event counter that is not 0 while an
// event of EVFILT_USER is active.
type queue struct {
	kernel *Kernel
	fd     int

	mu      sync.Mutex
	filters [3]filter // in the order in which they are asked next
	user    int       // the event counter
	users   map[uint64]*knote
}

// filter is EVFILT_READ, EVFILT_WRITE or EVFILT_EXCEPT, with the events of all descriptors that are registered for it.
type filter struct {
	number int16
	epoll  int
	notes  map[int]*knote
}

// knote is a registered event: its udata, and what else it was registered with (kqueue(2): the event is identified by ident and
// filter, all else can be modified).
type knote struct {
	udata     uint64
	clear     bool
	triggered bool // of EVFILT_USER
}

// Kqueue is kqueue(2).
func (k *Kernel) Kqueue() (int, syscall.Errno) {
	q := &queue{kernel: k, users: make(map[uint64]*knote)}
	var err error
	if q.user, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return -1, number(err)
	}
	opened := []int{q.user}
	for i, filter := range [...]int16{sys.EVFILT_READ, sys.EVFILT_WRITE, sys.EVFILT_EXCEPT} {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return -1, closeAll(opened, err)
		}
		opened = append(opened, fd)
		q.filters[i].number, q.filters[i].epoll, q.filters[i].notes = filter, fd, make(map[int]*knote)
	}
	if q.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return -1, closeAll(opened, err)
	}
	for _, fd := range opened {
		if err := unix.EpollCtl(q.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return -1, closeAll(append(opened, q.fd), err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.queues[q.fd] = q
	return q.fd, 0
}

func closeAll(descriptors []int, because error) syscall.Errno {
	for _, fd := range descriptors {
		unix.Close(fd)
	}
	return number(because)
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	closeAll([]int{q.user, q.filters[0].epoll, q.filters[1].epoll, q.filters[2].epoll}, nil)
}

// forget removes the events of a descriptor that is about to be closed (kqueue(2), DESCRIPTION).
func (q *queue) forget(fd int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.filters {
		q.filters[i].delete(fd)
	}
}

// longestTimeout is the most that macOS takes; FreeBSD and OpenBSD take more (kqueue(2), EINVAL: the timeout is invalid).
const longestTimeout = 100_000_000 * time.Second

// Kevent is kevent(2).
func (k *Kernel) Kevent(kq int, changes, events []sys.Kevent, timeout time.Duration) (int, syscall.Errno) {
	k.mu.Lock()
	q := k.queues[kq]
	k.mu.Unlock()
	if q == nil {
		return 0, syscall.EBADF // kqueue(2), ERRORS
	}
	if timeout > longestTimeout {
		return 0, syscall.EINVAL
	}
	n, errno := q.make(changes, events)
	// kqueue(2): without room for events kevent returns at once, even if there is a timeout; and what is in the list of events
	// because of an error ends the waiting too.
	if errno != 0 || n > 0 || len(events) == 0 {
		return n, errno
	}
	return q.wait(events, timeout)
}

// make is what kevent(2) does with the list of changes: if one fails, the error is put into the list of events, with EV_ERROR, as
// long as there is room; else kevent fails with it (kqueue(2), RETURN VALUES).
func (q *queue) make(changes, events []sys.Kevent) (n int, errno syscall.Errno) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, change := range changes {
		errno := q.change(&change)
		if errno == 0 {
			continue
		}
		if n == len(events) {
			return 0, errno
		}
		events[n] = change
		events[n].Flags, events[n].Data = sys.EV_ERROR, int64(errno)
		n++
	}
	return n, 0
}

// wait waits until there is an event, or the timeout is over, a signal comes (EINTR), or the time is over: 0 (kqueue(2)).
func (q *queue) wait(events []sys.Kevent, timeout time.Duration) (int, syscall.Errno) {
	end := time.Now().Add(timeout)
	for left := timeout; ; left = max(0, time.Until(end)) {
		milliseconds := -1
		if timeout >= 0 {
			milliseconds = int(min((left+time.Millisecond-1)/time.Millisecond, math.MaxInt32)) // rounded up, as a kernel does to its ticks
		}
		var ready [4]unix.EpollEvent
		if _, err := unix.EpollWait(q.fd, ready[:], milliseconds); err != nil {
			return 0, number(err)
		}
		if n := q.take(events); n > 0 {
			return n, 0
		}
		if timeout >= 0 && !time.Now().Before(end) {
			return 0, 0
		}
	}
}

// take takes active events out of the queue, without waiting. No filter comes first always: the queue has them in the order in which
// they became active.
func (q *queue) take(events []sys.Kevent) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.filters {
		n += q.filters[i].take(events[n:])
	}
	n += q.takeUsers(events[n:])
	q.filters[0], q.filters[1], q.filters[2] = q.filters[1], q.filters[2], q.filters[0]
	return n
}
