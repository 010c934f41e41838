//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package poller

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// kqueue is a Poller on kqueue(2). docs/adr/0012 says what it relies on. A descriptor has up to three filters there, each
// edge-triggered (EV_CLEAR), whatever the interest is: for what a caller does not want to hear of may still be half of what is always
// reported, that both directions are closed.
type kqueue struct {
	kernel sys.Kqueue
	kq     int
	waker  waker

	// pending is set by the Wake that signals and cleared by the Wait that has seen the signal: all others between
	// the two have nothing to do.
	pending atomic.Bool
	closed  atomic.Bool // written with mu held

	mu       sync.Mutex       // held while kq or the waker is used by anything but kevent(2) in Wait, so that Close can close them
	waiting  bool             // somebody is in Wait, and will close what Close has left open for it
	watching map[int]*watched // by descriptor: not a slice, which would have room in each loop for the descriptors of all
	changes  [3]sys.Kevent    // scratch

	// Only the goroutine in Wait uses what follows.
	ready []sys.Kevent
}

// waker makes a Wait return. All its methods but seen are called with mu held.
type waker interface {
	// start registers the waker with a kqueue, with the token Reserved.
	start(kq int) error
	// signal makes kevent(2) return, in whatever thread it waits. It fails with the name of the call that has failed.
	signal(kq int) (call string, errno syscall.Errno)
	// seen says that the signal has come out of kevent(2).
	seen()
	// close closes the descriptors that there are.
	close()
}

// watched is the registration of a descriptor.
type watched struct {
	token    Token
	interest Interest
	filters  filters // what the kernel watches
	ended    filters // of these, READ and WRITE: the direction is at its end
	untold   bool    // Urgent cannot be reported when it comes, so it is reported once for all
}

// filters is a set of filters.
type filters uint8

const (
	filterRead filters = 1 << iota
	filterWrite
	filterUrgent

	directions = filterRead | filterWrite
)

func newKqueue(kernel sys.Kqueue, waker waker) (*kqueue, error) {
	kq, errno := kernel.Kqueue()
	if errno != 0 {
		waker.close()
		return nil, os.NewSyscallError("kqueue", errno)
	}
	if err := waker.start(kq); err != nil {
		waker.close()
		kernel.Close(kq)
		return nil, err
	}
	return &kqueue{kernel: kernel, kq: kq, waker: waker, watching: make(map[int]*watched)}, nil
}

func (q *kqueue) Add(fd int, token Token, interest Interest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed.Load() {
		return ErrClosed
	}
	if q.watching[fd] != nil {
		return os.NewSyscallError("kevent", syscall.EEXIST)
	}
	return kqueueError(q.attach(fd, token, interest))
}

// Modify registers anew: a filter is asked whether it holds already when it is added (kqueue(2)).
func (q *kqueue) Modify(fd int, token Token, interest Interest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed.Load() {
		return ErrClosed
	}
	if errno := q.detach(fd); errno != 0 {
		return kqueueError(errno)
	}
	return kqueueError(q.attach(fd, token, interest))
}

func (q *kqueue) Remove(fd int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed.Load() {
		return ErrClosed
	}
	return kqueueError(q.detach(fd))
}

func kqueueError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return os.NewSyscallError("kevent", errno)
}

// attach registers fd. mu is held.
func (q *kqueue) attach(fd int, token Token, interest Interest) syscall.Errno {
	accepted, errno := q.addFilters(fd, token, interest)
	if errno != 0 {
		return errno
	}
	q.watching[fd] = &watched{token: token, interest: interest, filters: accepted, untold: accepted&filterUrgent == 0}
	return 0
}

// addFilters returns the filters that the kernel has accepted. If it fails, it has left none.
func (q *kqueue) addFilters(fd int, token Token, interest Interest) (accepted filters, errno syscall.Errno) {
	changes := appendFilters(q.changes[:0], allFilters, sys.Kevent{Ident: uint64(fd), Flags: sys.EV_ADD | sys.EV_CLEAR, Udata: uint64(token)})
	if errno = q.change(changes); errno == 0 {
		return allFilters, 0
	}
	// One by one, to see which.
	var refused syscall.Errno // the first
	for i := range changes {
		kind := filterOf(&changes[i])
		errno := q.change(changes[i : i+1])
		switch {
		case errno == 0:
			accepted |= kind
		case kind&needed(interest) != 0 && !isOneWay(errno):
			q.deleteFilters(fd, accepted)
			return 0, errno
		case refused == 0:
			refused = errno
		}
	}
	if accepted&directions == 0 {
		q.deleteFilters(fd, accepted)
		return 0, refused
	}
	return accepted, 0
}

// needed are the filters without which an interest cannot be served.
func needed(interest Interest) (needed filters) {
	if interest&Readable != 0 {
		needed |= filterRead
	}
	if interest&Writable != 0 {
		needed |= filterWrite
	}
	return needed
}

// isOneWay reports whether a descriptor may be fine, but for a direction that it does not have: EPIPE and EBADF are what kernels
// say of the end of a pipe whose other end is gone. Then the direction that it has tells that it is closed.
func isOneWay(errno syscall.Errno) bool {
	return errno == syscall.EINVAL || errno == syscall.EPIPE || errno == syscall.EBADF
}

// detach ends the registration of fd. mu is held.
func (q *kqueue) detach(fd int) syscall.Errno {
	w := q.watching[fd]
	if w == nil {
		// The kernel tells a descriptor that is not registered from one that is not open.
		if errno := q.deleteFilters(fd, filterRead); errno != 0 {
			return errno
		}
		return syscall.ENOENT
	}
	delete(q.watching, fd)
	return q.deleteFilters(fd, w.filters)
}

// deleteFilters goes on after an error, and returns the first.
func (q *kqueue) deleteFilters(fd int, kinds filters) (first syscall.Errno) {
	changes := appendFilters(q.changes[:0], kinds, sys.Kevent{Ident: uint64(fd), Flags: sys.EV_DELETE})
	if errno := q.change(changes); errno == 0 {
		return 0
	}
	for i := range changes {
		if errno := q.change(changes[i : i+1]); errno != 0 && first == 0 {
			first = errno
		}
	}
	return first
}

func (q *kqueue) change(changes []sys.Kevent) syscall.Errno { return change(q.kernel, q.kq, changes) }

// change makes changes without taking events out of the queue.
func change(kernel sys.Kqueue, kq int, changes []sys.Kevent) syscall.Errno {
	for {
		if _, errno := kernel.Kevent(kq, changes, nil, 0); errno != syscall.EINTR {
			return errno
		}
	}
}

// appendFilters appends a change for each filter of a set.
func appendFilters(changes []sys.Kevent, kinds filters, change sys.Kevent) []sys.Kevent {
	if kinds&filterRead != 0 {
		change.Filter = sys.EVFILT_READ
		changes = append(changes, change)
	}
	if kinds&filterWrite != 0 {
		change.Filter = sys.EVFILT_WRITE
		changes = append(changes, change)
	}
	if kinds&filterUrgent != 0 {
		changes = append(changes, urgent(change))
	}
	return changes
}

func (q *kqueue) Wake() error {
	if !q.pending.CompareAndSwap(false, true) {
		if q.closed.Load() { // then no Wait will clear pending any more
			return ErrClosed
		}
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed.Load() {
		return ErrClosed
	}
	if call, errno := q.waker.signal(q.kq); errno != 0 {
		q.pending.Store(false)
		return os.NewSyscallError(call, errno)
	}
	return nil
}

// Close leaves the descriptors to a Wait that uses them.
func (q *kqueue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed.Load() {
		return ErrClosed
	}
	q.closed.Store(true)
	if !q.waiting {
		q.release()
		return nil
	}
	if call, errno := q.waker.signal(q.kq); errno != 0 {
		return os.NewSyscallError(call, errno)
	}
	return nil
}

// release closes what there is. mu is held.
func (q *kqueue) release() {
	q.waker.close()
	q.kernel.Close(q.kq)
}

// enter begins a Wait: kq stays open until leave.
func (q *kqueue) enter() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed.Load() {
		return ErrClosed
	}
	q.waiting = true
	return nil
}

func (q *kqueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = false
	if q.closed.Load() {
		q.release()
	}
}
