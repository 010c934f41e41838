//go:build unix

package pollref

import (
	"math"
	"os"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller"
	"golang.org/x/sys/unix"
)

func (p *pollPoller) Wait(events []poller.Event, timeout time.Duration) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	start := time.Now()
	for {
		if p.closed {
			return 0, poller.ErrClosed
		}
		if len(events) == 0 {
			return 0, os.NewSyscallError("poll", syscall.EINVAL)
		}
		now := time.Now()
		n, err := p.scan(events, now)
		if err != nil {
			return 0, err
		}
		left := timeout - now.Sub(start)
		if n > 0 || p.woken || timeout >= 0 && left <= 0 {
			p.woken = false
			return n, nil
		}
		if timeout < 0 {
			left = math.MaxInt64
		}
		if err := p.block(left, now); err != nil {
			return 0, err
		}
	}
}

// scan looks at all descriptors without waiting, and fills events with what there is to report.
func (p *pollPoller) scan(events []poller.Event, now time.Time) (int, error) {
	p.set = p.set[:0]
	for _, r := range p.queue {
		p.set = append(p.set, unix.PollFd{Fd: int32(r.fd), Events: mask(r.interest)})
	}
	if _, err := poll(p.set, 0); err != nil {
		return 0, err
	}
	var unserved, served []*registration
	n := 0
	for i, r := range p.queue {
		holds := readiness(p.set[i].Revents)
		if p.set[i].Revents&unix.POLLNVAL != 0 { // closed without Remove
			delete(p.byFD, r.fd)
			continue
		}
		r.reported &= holds
		report := holds &^ r.reported
		if r.reported != 0 && !now.Before(r.again) {
			report = holds
		}
		if report == 0 || n == len(events) {
			unserved = append(unserved, r)
			continue
		}
		events[n] = poller.Event{Token: r.token, Readiness: report}
		n++
		r.reported, r.again = holds, now.Add(Pace)
		served = append(served, r)
	}
	p.queue = append(unserved, served...)
	return n, nil
}

// block waits in poll(2), with mu released, until something has happened that scan should look at: a condition that has
// not been reported, the time to report one again, a signal, or the end of left. It may return early.
func (p *pollPoller) block(left time.Duration, now time.Time) error {
	set := []unix.PollFd{{Fd: int32(p.reader), Events: unix.POLLIN}}
	for _, r := range p.queue {
		if r.reported != 0 {
			left = min(left, r.again.Sub(now))
		}
		if r.reported&poller.Closed != 0 {
			continue // POLLHUP and POLLERR cannot be masked: poll(2) would return at once
		}
		var asked int16
		for _, bit := range [...]poller.Readiness{poller.Readable, poller.Writable, poller.ReadClosed, poller.Urgent} {
			if r.reported&bit == 0 {
				asked |= mask(r.interest) & bits(bit)
			}
		}
		set = append(set, unix.PollFd{Fd: int32(r.fd), Events: asked})
	}
	p.waiting = true
	p.mu.Unlock()
	_, err := poll(set, milliseconds(left))
	p.mu.Lock()
	p.waiting = false
	p.left.Broadcast()
	if p.signalled {
		p.signalled = false
		var b [1]byte
		for {
			if _, err := unix.Read(p.reader, b[:]); err != unix.EINTR {
				break
			}
		}
	}
	return err
}

// poll is poll(2), but takes EINTR for an early return.
func poll(set []unix.PollFd, timeout int) (int, error) {
	n, err := unix.Poll(set, timeout)
	if err == unix.EINTR {
		if timeout == 0 {
			return poll(set, 0)
		}
		return 0, nil
	}
	return n, os.NewSyscallError("poll", err)
}

// milliseconds rounds up, to the unit of poll(2).
func milliseconds(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	return int(min((d-1)/time.Millisecond+1, math.MaxInt32))
}

// mask is what to ask poll(2) for. POLLHUP and POLLERR need not be asked for.
func mask(interest poller.Interest) (events int16) {
	if interest&poller.Readable != 0 {
		events |= bits(poller.Readable) | bits(poller.ReadClosed) | bits(poller.Urgent)
	}
	if interest&poller.Writable != 0 {
		events |= bits(poller.Writable)
	}
	return events
}

// bits is the bit of poll(2) that stands for one condition.
func bits(condition poller.Readiness) int16 {
	switch condition {
	case poller.Readable:
		return unix.POLLIN
	case poller.Writable:
		return unix.POLLOUT
	case poller.ReadClosed:
		return rdhup
	case poller.Urgent:
		return unix.POLLPRI
	}
	return 0
}

func readiness(revents int16) (r poller.Readiness) {
	if revents&(unix.POLLIN|rdhup|unix.POLLHUP|unix.POLLERR) != 0 {
		r |= poller.Readable
	}
	if revents&(unix.POLLOUT|unix.POLLHUP|unix.POLLERR) != 0 {
		r |= poller.Writable
	}
	if revents&(rdhup|unix.POLLHUP) != 0 {
		r |= poller.ReadClosed
	}
	if revents&(unix.POLLHUP|unix.POLLERR) != 0 {
		r |= poller.Closed
	}
	if revents&unix.POLLPRI != 0 {
		r |= poller.Urgent
	}
	return r
}
