package bsdtest

import (
	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/sys"
)

// take fills events with what is active. An event whose condition has ended meanwhile is dropped (kqueue(2), DESCRIPTION); one with
// EV_CLEAR is not active any more until something happens anew, another stays in the queue (kqueue(2), EV_CLEAR). epoll_wait(2) does
// both.
func (f *filter) take(events []sys.Kevent) (n int) {
	if len(events) == 0 || len(f.notes) == 0 {
		return 0
	}
	var ready [64]unix.EpollEvent
	for n < len(events) {
		room := min(len(ready), len(events)-n)
		count, err := unix.EpollWait(f.epoll, ready[:room], 0)
		if err != nil {
			break // EINTR: as if there were none, for the caller looks again
		}
		for i := range ready[:count] {
			fd := int(ready[i].Fd)
			if note := f.notes[fd]; note != nil {
				if event, holds := f.event(fd, note, ready[i].Events); holds {
					events[n] = event
					n++
				}
			}
		}
		if count < room || f.isLevel(ready[:count]) {
			break
		}
	}
	return n
}

// isLevel reports whether one of the events would come again at once.
func (f *filter) isLevel(ready []unix.EpollEvent) bool {
	for i := range ready {
		if note := f.notes[int(ready[i].Fd)]; note != nil && !note.clear {
			return true
		}
	}
	return false
}

// event is what kevent(2) returns for a descriptor whose conditions, of epoll(7), are these.
func (f *filter) event(fd int, note *knote, conditions uint32) (event sys.Kevent, holds bool) {
	event = sys.Kevent{Ident: uint64(fd), Filter: f.number, Udata: note.udata}
	if note.clear {
		event.Flags = sys.EV_CLEAR
	}
	failed := conditions&unix.EPOLLERR != 0
	ended := false
	switch f.number {
	case sys.EVFILT_READ:
		// kqueue(2), EVFILT_READ: data is how many bytes there are to read. EV_EOF says that the peer has shut down its direction
		// of a socket, or that the last writer of a pipe is gone; there may still be data before that.
		event.Data = int64(unread(fd))
		ended = conditions&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0 || failed
	case sys.EVFILT_WRITE:
		// kqueue(2), EVFILT_WRITE: data is how much room there is. EV_EOF says that the reader is gone; the kernels of FreeBSD, macOS
		// and OpenBSD set it too for a socket that was shut down for writing.
		event.Data = int64(room(fd))
		ended = conditions&unix.EPOLLHUP != 0 || failed || sendsNoMore(fd)
	case sys.EVFILT_EXCEPT:
		// kevent(2) of macOS and OpenBSD, NOTE_OOB: out-of-band data has arrived.
		if conditions&unix.EPOLLPRI == 0 {
			return event, false // the end of a connection is not what it waits for
		}
		event.Fflags = sys.NOTE_OOB
		return event, true
	}
	if ended {
		event.Flags |= sys.EV_EOF
	}
	if failed && isSocket(fd) {
		// kqueue(2), EV_EOF: fflags has the error of a socket, if there is one. Linux has no way to look at it without taking it
		// away, so it is always this one.
		event.Fflags = uint32(unix.ECONNRESET)
	}
	return event, true
}
