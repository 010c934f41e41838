package systest

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxCount is the largest number that an event counter holds (eventfd(2)).
const maxCount = math.MaxUint64 - 1

type counter struct{ count uint64 }

func (c *counter) conditions() uint32 {
	var events uint32
	if c.count > 0 {
		events |= unix.EPOLLIN
	}
	if c.count < maxCount {
		events |= unix.EPOLLOUT
	}
	return events
}

// Eventfd is eventfd(2).
func (k *Kernel) Eventfd() (int, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open(new(counter))
}

// EventfdSignal adds one. A write that is refused, because the counter is at its maximum, is no edge.
func (k *Kernel) EventfdSignal(fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, errno := k.find("eventfd", fd)
	if errno != 0 {
		return errno
	}
	c, ok := f.what.(*counter)
	if !ok {
		k.violation("eventfd: descriptor %d is %s", fd, f.name())
		return syscall.EINVAL
	}
	if c.count == maxCount {
		return syscall.EAGAIN
	}
	c.count++
	f.changed(unix.EPOLLIN)
	return 0
}

// SaturateEventfds brings all event counters that there are near their maximum: the next writes reach it.
func (k *Kernel) SaturateEventfds() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.table {
		if f == nil {
			continue
		}
		if c, ok := f.what.(*counter); ok && c.count < maxCount-2 {
			c.count = maxCount - 2
		}
	}
}
