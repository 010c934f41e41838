package bsdtest

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/sys"
)

// change makes one change. mu is held.
func (q *queue) change(change *sys.Kevent) syscall.Errno {
	if unknown := change.Flags &^ (sys.EV_ADD | sys.EV_DELETE | sys.EV_CLEAR); unknown != 0 {
		panic(fmt.Sprintf("bsdtest: kevent: flags %#x are not there yet", unknown))
	}
	if change.Filter == sys.EVFILT_USER && !q.kernel.NoUser {
		return q.changeUser(change)
	}
	for i := range q.filters {
		if f := &q.filters[i]; f.number == change.Filter {
			if f.number == sys.EVFILT_EXCEPT && q.kernel.NoExcept {
				break
			}
			return f.change(change, q.kernel.OneWay)
		}
	}
	return syscall.EINVAL // kqueue(2), ERRORS: the filter is invalid
}

// conditions are the events of epoll(7) for what a filter tells.
func (f *filter) conditions() uint32 {
	switch f.number {
	case sys.EVFILT_READ:
		return unix.EPOLLIN | unix.EPOLLRDHUP
	case sys.EVFILT_WRITE:
		return unix.EPOLLOUT
	}
	return unix.EPOLLPRI
}

// change is EV_ADD or EV_DELETE. To add an event anew modifies it, and the filter is asked whether it holds (kqueue(2), EV_ADD,
// and DESCRIPTION). EBADF and ENOENT come in the same cases from epoll_ctl(2) as from kqueue(2).
func (f *filter) change(change *sys.Kevent, oneWay bool) syscall.Errno {
	fd := int(change.Ident)
	if change.Flags&sys.EV_DELETE != 0 {
		return f.delete(fd)
	}
	note := f.notes[fd]
	if change.Flags&sys.EV_ADD == 0 && note == nil {
		return syscall.ENOENT // kqueue(2), ERRORS
	}
	if f.number == sys.EVFILT_WRITE && oneWay && isReadOnly(fd) {
		return syscall.EINVAL
	}
	if f.number == sys.EVFILT_EXCEPT && change.Fflags != sys.NOTE_OOB {
		return syscall.EINVAL
	}
	event := unix.EpollEvent{Events: f.conditions(), Fd: int32(fd)}
	if change.Flags&sys.EV_CLEAR != 0 {
		event.Events |= unix.EPOLLET
	}
	operation := unix.EPOLL_CTL_MOD
	if note == nil {
		operation = unix.EPOLL_CTL_ADD
	}
	err := unix.EpollCtl(f.epoll, operation, fd, &event)
	if err == unix.ENOENT {
		// It was closed behind the kernel's back, and this is another: the old one has taken its events along.
		err = unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &event)
	}
	if err != nil {
		return number(err)
	}
	f.notes[fd] = &knote{udata: change.Udata, clear: change.Flags&sys.EV_CLEAR != 0}
	return 0
}

// delete removes what is there: also an event that has not been taken (kqueue(2), EV_DELETE).
func (f *filter) delete(fd int) syscall.Errno {
	delete(f.notes, fd)
	return number(unix.EpollCtl(f.epoll, unix.EPOLL_CTL_DEL, fd, nil))
}

// isReadOnly reports whether fd cannot be written.
func isReadOnly(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDONLY
}
