//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package poller

import (
	"os"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller/sys"
)

// longestWait is what one kevent(2) may wait: macOS takes no more than about three years (EINVAL).
const longestWait = 24 * time.Hour

func (q *kqueue) Wait(events []Event, timeout time.Duration) (int, error) {
	if err := q.enter(); err != nil {
		return 0, err
	}
	defer q.leave()
	if len(events) == 0 {
		return 0, kqueueError(syscall.EINVAL)
	}
	if cap(q.ready) < len(events) {
		q.ready = make([]sys.Kevent, len(events))
	}
	var end time.Time
	if timeout > 0 {
		end = time.Now().Add(timeout)
	}
	for left := timeout; ; {
		n, errno := q.kernel.Kevent(q.kq, nil, q.ready[:len(events)], min(left, longestWait))
		if q.closed.Load() {
			return 0, ErrClosed
		}
		if errno != 0 && errno != syscall.EINTR {
			return 0, os.NewSyscallError("kevent", errno)
		}
		if errno == 0 {
			told, woken := q.translate(events, q.ready[:n])
			if told > 0 || woken || n == 0 && (timeout == 0 || timeout > 0 && !time.Now().Before(end)) {
				return told, nil
			}
		}
		// It was interrupted, or for nothing that anybody wants to hear of, or too early. Also if the time is over by now, there
		// must be a look at what there is.
		if timeout > 0 {
			left = max(0, time.Until(end))
		}
	}
}

// translate turns what kevent(2) has returned into events, and reports whether the waker was among it. What is no event of the
// registration that its descriptor has by now is dropped.
func (q *kqueue) translate(events []Event, ready []sys.Kevent) (n int, woken bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range ready {
		event := &ready[i]
		if Token(event.Udata) == Reserved {
			q.waker.seen()
			q.pending.Store(false)
			woken = true
			continue
		}
		w := q.watching[int(event.Ident)]
		if w == nil || w.token != Token(event.Udata) {
			continue
		}
		if said := w.hear(event); said != 0 {
			events[n] = Event{w.token, said}
			n++
		}
	}
	return n, woken
}

// hear returns what an event says to who has the interest of w.
func (w *watched) hear(event *sys.Kevent) Readiness {
	kind := filterOf(event)
	var said Readiness
	switch kind {
	case filterRead:
		said = Readable
		if w.untold && w.interest&Readable != 0 {
			w.untold = false
			said |= Urgent
		}
	case filterWrite:
		said = Writable
	case filterUrgent:
		// A read may have stopped at the mark before anybody knew of it, so what is behind it is new too.
		said = Urgent | Readable
	}
	kind &= directions
	w.ended &^= kind
	failed := false
	if event.Flags&sys.EV_EOF != 0 {
		w.ended |= kind
		failed = event.Fflags != 0 // the error of the socket
	}
	if w.ended&filterRead != 0 {
		said |= ReadClosed
	}
	wanted := Interest(0)
	if w.interest&Readable != 0 {
		wanted |= Readable | ReadClosed | Urgent
	}
	wanted |= w.interest & Writable
	said &= wanted
	if failed || w.ended == w.filters&directions {
		said |= Closed | Readable | Writable
	}
	return said
}

func filterOf(event *sys.Kevent) filters {
	switch event.Filter {
	case sys.EVFILT_READ:
		return filterRead
	case sys.EVFILT_WRITE:
		return filterWrite
	}
	return filterUrgent
}
