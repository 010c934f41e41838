package systest

import (
	"fmt"
	"syscall"
)

// firstDescriptor is the lowest number that is given out: the first three are those of every process.
const firstDescriptor = 3

// file is an open file description: what one or more descriptors stand for.
type file struct {
	kernel  *Kernel
	serial  uint64 // how many were opened before
	rolls   uint64 // see Kernel.roll
	refs    int    // descriptors
	watches []*watch
	what    any // *endpoint, *listener, *instance or *counter
}

// pollable is what can be watched: it tells what holds, in the bits of epoll_ctl(2).
type pollable interface{ conditions() uint32 }

// lowest returns the lowest number that is free.
func (k *Kernel) lowest() (int, syscall.Errno) {
	fd := len(k.table)
	for i := firstDescriptor; i < len(k.table); i++ {
		if k.table[i] == nil {
			fd = i
			break
		}
	}
	if k.most > 0 && fd >= k.most+firstDescriptor {
		return -1, syscall.EMFILE
	}
	if fd == len(k.table) {
		k.table = append(k.table, nil)
	}
	return fd, 0
}

// SetMaxDescriptors changes how many descriptors may be open. 0 means any number.
func (k *Kernel) SetMaxDescriptors(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.most = n
}

// open gives out the lowest number that is free (open(2)).
func (k *Kernel) open(what any) (int, syscall.Errno) {
	fd, errno := k.lowest()
	if errno != 0 {
		return -1, errno
	}
	k.serial++
	f := &file{kernel: k, serial: k.serial, refs: 1, what: what}
	if e, ok := what.(*endpoint); ok {
		e.file = f
	}
	if l, ok := what.(*listener); ok {
		l.file = f
	}
	k.table[fd] = f
	return fd, 0
}

// find returns what fd stands for. A number that stands for nothing is EBADF and a violation: it may be another's soon.
func (k *Kernel) find(call string, fd int) (*file, syscall.Errno) {
	if fd < 0 || fd >= len(k.table) || k.table[fd] == nil {
		k.violation("%s: descriptor %d is not open", call, fd)
		return nil, syscall.EBADF
	}
	return k.table[fd], 0
}

// socket is find for what must be a connection.
func (k *Kernel) socket(call string, fd int) (*endpoint, syscall.Errno) {
	f, errno := k.find(call, fd)
	if errno != 0 {
		return nil, errno
	}
	e, ok := f.what.(*endpoint)
	if !ok {
		k.violation("%s: descriptor %d is %s", call, fd, f.name())
		return nil, syscall.ENOTSOCK
	}
	return e, 0
}

func (f *file) name() string {
	switch what := f.what.(type) {
	case *endpoint:
		return "connection " + what.name
	case *listener:
		return "listener " + what.addr.String()
	case *instance:
		return "epoll instance"
	case *counter:
		return "event counter"
	}
	return "nothing"
}

// Duplicate gives what fd stands for a second number (dup(2)), as a program does that has got it from us.
func (k *Kernel) Duplicate(fd int) (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, errno := k.find("dup", fd)
	if errno != 0 {
		return -1, errno
	}
	duplicate, errno := k.lowest()
	if errno != 0 {
		return -1, errno
	}
	k.table[duplicate] = f
	f.refs++
	return duplicate, 0
}

// Close ends a descriptor (close(2)), and with the last one what it stands for.
func (k *Kernel) Close(fd int) syscall.Errno {
	k.enter("close", fd)
	k.mu.Lock()
	defer k.mu.Unlock()
	f, errno := k.find("close", fd)
	if errno != 0 {
		return errno
	}
	for _, w := range f.watches {
		if w.fd == fd {
			k.violation("close: descriptor %d (%s) is still registered", fd, f.name())
		}
	}
	k.table[fd] = nil
	if _, ok := f.what.(*endpoint); ok {
		k.trace("close", fd, 0, 0)
	}
	f.refs--
	if f.refs == 0 {
		f.end()
	}
	// The descriptor is closed also if a signal came (close(2)): whoever closes again closes another's.
	if k.chance(f, k.faults.Interrupt) {
		return syscall.EINTR
	}
	return 0
}

// end is the end of what nobody has a descriptor of.
func (f *file) end() {
	for _, w := range f.watches {
		w.forget()
	}
	f.watches = nil
	switch what := f.what.(type) {
	case *endpoint:
		what.release()
	case *listener:
		what.release()
	case *instance:
		what.release()
	}
}

// Open tells what is open, by number.
func (k *Kernel) Open() map[int]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	open := make(map[int]string)
	for fd, f := range k.table {
		if f != nil {
			open[fd] = f.name()
		}
	}
	return open
}

// Registrations is how many descriptors are registered with epoll instances.
func (k *Kernel) Registrations() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, f := range k.table {
		if f == nil {
			continue
		}
		if in, ok := f.what.(*instance); ok {
			n += len(in.watches)
		}
	}
	return n
}

// Unread is how many bytes have arrived at the connections that are open and have not been read.
func (k *Kernel) Unread() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	unread := make(map[string]int)
	for fd, f := range k.table {
		if f == nil {
			continue
		}
		if e, ok := f.what.(*endpoint); ok && len(e.in) > 0 {
			unread[fmt.Sprintf("%d (%s)", fd, e.name)] = len(e.in)
		}
	}
	return unread
}
