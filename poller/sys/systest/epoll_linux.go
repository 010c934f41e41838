package systest

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// instance is an epoll instance.
type instance struct {
	kernel   *Kernel
	file     *file
	watches  []*watch // in the order of their registration
	ready    []*watch // told of a change, in that order
	notify   chan struct{}
	released bool
}

// watch is a registration: of a number and of what it stood for (epoll(7), question 6).
type watch struct {
	instance *instance
	file     *file
	fd       int
	event    unix.EpollEvent
	queued   bool
}

// EpollCreate is epoll_create1(2).
func (k *Kernel) EpollCreate() (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	in := &instance{kernel: k, notify: make(chan struct{}, 1)}
	fd, errno := k.open(in)
	if errno == 0 {
		in.file = k.table[fd]
	}
	return fd, errno
}

func (k *Kernel) instance(call string, epfd int) (*instance, syscall.Errno) {
	f, errno := k.find(call, epfd)
	if errno != 0 {
		return nil, errno
	}
	in, ok := f.what.(*instance)
	if !ok {
		k.violation("%s: descriptor %d is %s", call, epfd, f.name())
		return nil, syscall.EINVAL
	}
	return in, 0
}

// EpollCtl is epoll_ctl(2).
func (k *Kernel) EpollCtl(epfd, op, fd int, event unix.EpollEvent) syscall.Errno {
	k.enter("epoll_ctl", fd)
	k.mu.Lock()
	defer k.mu.Unlock()
	in, errno := k.instance("epoll_ctl", epfd)
	if errno != 0 {
		return errno
	}
	f, errno := k.find("epoll_ctl", fd)
	if errno != 0 {
		return errno
	}
	if _, ok := f.what.(pollable); !ok {
		return syscall.EPERM
	}
	place := slices.IndexFunc(in.watches, func(w *watch) bool { return w.fd == fd && w.file == f })
	switch op {
	case unix.EPOLL_CTL_ADD:
		if place >= 0 {
			return syscall.EEXIST
		}
		if _, ok := f.what.(*endpoint); ok && k.chance(f, k.faults.NoWatch) {
			return []syscall.Errno{syscall.ENOMEM, syscall.ENOSPC}[k.roll(f, 2)]
		}
		w := &watch{instance: in, file: f, fd: fd, event: event}
		in.watches = append(in.watches, w)
		f.watches = append(f.watches, w)
		w.look()
	case unix.EPOLL_CTL_MOD:
		if place < 0 {
			return syscall.ENOENT
		}
		w := in.watches[place]
		w.event = event
		w.look()
	case unix.EPOLL_CTL_DEL:
		if place < 0 {
			return syscall.ENOENT
		}
		w := in.watches[place]
		w.forget()
		f.watches = slices.DeleteFunc(f.watches, func(other *watch) bool { return other == w })
	default:
		return syscall.EINVAL
	}
	return 0
}

// always are reported whether they are asked for or not.
const always = unix.EPOLLERR | unix.EPOLLHUP

func (w *watch) holds() uint32 {
	return w.file.what.(pollable).conditions() & (w.event.Events | always)
}

// look queues w if anything holds that it is for.
func (w *watch) look() {
	if w.holds() != 0 {
		w.queue()
	}
}

func (w *watch) queue() {
	if !w.queued {
		w.queued = true
		w.instance.ready = append(w.instance.ready, w)
	}
	w.instance.tell()
}

// forget takes w out of its instance.
func (w *watch) forget() {
	isThis := func(other *watch) bool { return other == w }
	w.instance.watches = slices.DeleteFunc(w.instance.watches, isThis)
	w.instance.ready = slices.DeleteFunc(w.instance.ready, isThis)
}

// changed tells everybody who watches f. events are what has changed, 0 if that may be anything; who has not asked for any
// of them is not told.
func (f *file) changed(events uint32) {
	for _, w := range f.watches {
		if events == 0 || events&(w.event.Events|always) != 0 {
			w.queue()
		}
	}
}

// tell ends a Park.
func (in *instance) tell() {
	select {
	case in.notify <- struct{}{}:
	default:
	}
}

func (in *instance) release() {
	in.released = true
	for _, w := range in.watches {
		w.file.watches = slices.DeleteFunc(w.file.watches, func(other *watch) bool { return other == w })
	}
	in.watches, in.ready = nil, nil
	in.tell()
}

// EpollWait is epoll_wait(2) with a timeout of 0.
func (k *Kernel) EpollWait(epfd int, events []unix.EpollEvent) (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	in, errno := k.instance("epoll_wait", epfd)
	if errno != 0 {
		return 0, errno
	}
	if len(events) == 0 {
		return 0, syscall.EINVAL
	}
	if k.chance(in.file, k.faults.Interrupt) {
		return 0, syscall.EINTR
	}
	in.shuffle()
	most := len(events)
	if k.chance(in.file, k.faults.Few) {
		most = 1 + k.roll(in.file, most)
	}
	n := 0
	var again []*watch
	for n < most && len(in.ready) > 0 {
		w := in.ready[0]
		in.ready = in.ready[1:]
		w.queued = false
		holds := w.holds()
		if holds == 0 {
			continue
		}
		events[n] = unix.EpollEvent{Events: holds, Fd: w.event.Fd, Pad: w.event.Pad}
		n++
		if w.event.Events&unix.EPOLLET == 0 {
			again = append(again, w)
		}
	}
	for _, w := range again {
		w.queue()
	}
	if n < most && len(in.watches) > 0 && k.chance(in.file, k.faults.Spurious) {
		w := in.watches[k.roll(in.file, len(in.watches))]
		if said := w.event.Events & (unix.EPOLLIN | unix.EPOLLOUT); said != 0 {
			events[n] = unix.EpollEvent{Events: said, Fd: w.event.Fd, Pad: w.event.Pad}
			n++
		}
	}
	return n, 0
}

// shuffle changes the order of what is ready: no order is promised. Without faults it is the order of the changes.
func (in *instance) shuffle() {
	k := in.kernel
	if k.faults == (Faults{}) {
		return
	}
	for i := len(in.ready) - 1; i > 0; i-- {
		j := k.roll(in.file, i+1)
		in.ready[i], in.ready[j] = in.ready[j], in.ready[i]
	}
}
