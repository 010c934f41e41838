package bsdtest

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/sys"
)

// changeUser changes an event of EVFILT_USER: it is associated with no descriptor, and becomes active by NOTE_TRIGGER (kqueue(2),
// EVFILT_USER). mu is held.
func (q *queue) changeUser(change *sys.Kevent) syscall.Errno {
	note := q.users[change.Ident]
	switch {
	case change.Flags&sys.EV_DELETE != 0:
		if note == nil {
			return syscall.ENOENT
		}
		delete(q.users, change.Ident)
	case note == nil && change.Flags&sys.EV_ADD == 0:
		return syscall.ENOENT
	case note == nil:
		note = &knote{clear: change.Flags&sys.EV_CLEAR != 0}
		q.users[change.Ident] = note
		fallthrough
	default:
		note.udata = change.Udata
		if change.Fflags&sys.NOTE_TRIGGER != 0 {
			note.triggered = true
		}
	}
	q.signal()
	return 0
}

// takeUsers fills events with the triggered ones. EV_CLEAR makes them inactive (kqueue(2), EV_CLEAR).
func (q *queue) takeUsers(events []sys.Kevent) (n int) {
	for ident, note := range q.users {
		if n < len(events) && note.triggered {
			events[n] = sys.Kevent{Ident: ident, Filter: sys.EVFILT_USER, Udata: note.udata}
			if note.clear {
				events[n].Flags = sys.EV_CLEAR
				note.triggered = false
			}
			n++
		}
	}
	if n > 0 {
		q.signal()
	}
	return n
}

// signal makes the event counter what it must be, so that kevent(2) waits or does not.
func (q *queue) signal() {
	active := false
	for _, note := range q.users {
		active = active || note.triggered
	}
	count, call := uint64(1), uintptr(unix.SYS_READ)
	if active {
		call = unix.SYS_WRITE
	}
	_, _, _ = unix.RawSyscall(call, uintptr(q.user), uintptr(unsafe.Pointer(&count)), unsafe.Sizeof(count))
}
