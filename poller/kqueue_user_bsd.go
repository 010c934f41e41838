//go:build linux || darwin || dragonfly || (freebsd && !386 && !arm)

package poller

import (
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// NewKqueue returns a Poller on kqueue(2), which an event of its own wakes (EVFILT_USER). On Linux it needs a kernel for tests.
func NewKqueue(kernel sys.Kqueue) (Poller, error) {
	event := sys.Kevent{Filter: sys.EVFILT_USER, Udata: uint64(Reserved)}
	waker := &userWaker{kernel: kernel, add: [1]sys.Kevent{event}, trigger: [1]sys.Kevent{event}}
	waker.add[0].Flags = sys.EV_ADD | sys.EV_CLEAR
	waker.trigger[0].Fflags = sys.NOTE_TRIGGER
	q, err := newKqueue(kernel, waker)
	if err != nil {
		return nil, err
	}
	return q, nil
}

// userWaker is an event that the program triggers.
type userWaker struct {
	kernel       sys.Kqueue
	add, trigger [1]sys.Kevent
}

func (w *userWaker) start(kq int) error { return kqueueError(change(w.kernel, kq, w.add[:])) }

func (w *userWaker) signal(kq int) (string, syscall.Errno) {
	return "kevent", change(w.kernel, kq, w.trigger[:])
}

func (*userWaker) seen()  {}
func (*userWaker) close() {}
