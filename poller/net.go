package poller

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller/sys"
)

// netPoller is a Poller for the descriptors of [sys.Net], each of which can be in one Poller at a time.
type netPoller struct {
	control sync.Mutex // held while registrations change. It comes before the locks of sys.Net, and they come before mu

	mu         sync.Mutex
	registered map[int]*netRegistration
	changed    []*netRegistration // those with something to report
	woken      bool               // Wake was called since the last Wait returned
	closed     bool
	signal     chan struct{} // there is something for Wait to look at

	timer *time.Timer // of Wait; its own
}

func newNet() *netPoller {
	return &netPoller{registered: make(map[int]*netRegistration), signal: make(chan struct{}, 1)}
}

// netRegistration is the sys.Watcher of one descriptor.
type netRegistration struct {
	poller *netPoller

	// Protected by the poller's mu.
	token    Token
	interest Interest
	pending  Readiness // to be reported; it is in changed if that is not 0
	removed  bool
}

// Ready is for sys.Net.
func (r *netRegistration) Ready(holds sys.Condition) {
	p := r.poller
	p.mu.Lock()
	defer p.mu.Unlock()
	heard := Readiness(holds) & r.hears()
	if heard == 0 || r.removed {
		return
	}
	if r.pending == 0 {
		p.changed = append(p.changed, r)
		p.tell()
	}
	r.pending |= heard
}

// hears is what the owner is told of.
func (r *netRegistration) hears() Readiness {
	hears := r.interest | Closed
	if r.interest&Readable != 0 {
		hears |= ReadClosed
	}
	return hears
}

// tell lets Wait look. The caller has mu.
func (p *netPoller) tell() {
	select {
	case p.signal <- struct{}{}:
	default: // it will
	}
}

func (p *netPoller) Add(fd int, token Token, interest Interest) error {
	p.control.Lock()
	defer p.control.Unlock()
	r := &netRegistration{poller: p, token: token, interest: interest}
	p.mu.Lock()
	switch {
	case p.closed:
		p.mu.Unlock()
		return ErrClosed
	case p.registered[fd] != nil:
		p.mu.Unlock()
		return os.NewSyscallError("watch", syscall.EEXIST)
	}
	p.registered[fd] = r
	p.mu.Unlock()
	if errno := sys.Net.Watch(fd, r); errno != 0 {
		p.forget(fd)
		return os.NewSyscallError("watch", errno)
	}
	return nil
}

func (p *netPoller) Modify(fd int, token Token, interest Interest) error {
	p.control.Lock()
	defer p.control.Unlock()
	r, err := p.find(fd)
	if err != nil {
		return err
	}
	if errno := sys.Net.Watch(fd, nil); errno != 0 {
		return os.NewSyscallError("watch", errno)
	}
	p.mu.Lock()
	r.token, r.interest = token, interest
	p.unreport(r)
	p.mu.Unlock()
	return os.NewSyscallError("watch", errnoError(sys.Net.Watch(fd, r)))
}

func (p *netPoller) Remove(fd int) error {
	p.control.Lock()
	defer p.control.Unlock()
	if _, err := p.find(fd); err != nil {
		return err
	}
	errno := sys.Net.Watch(fd, nil)
	p.forget(fd)
	return os.NewSyscallError("watch", errnoError(errno))
}

// errnoError keeps 0 from becoming an error.
func errnoError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// find fails if fd is not registered.
func (p *netPoller) find(fd int) (*netRegistration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r := p.registered[fd]; {
	case p.closed:
		return nil, ErrClosed
	case r != nil:
		return r, nil
	case !sys.Net.IsOpen(fd):
		return nil, os.NewSyscallError("watch", syscall.EBADF)
	}
	return nil, os.NewSyscallError("watch", syscall.ENOENT)
}

func (p *netPoller) forget(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.registered[fd]
	delete(p.registered, fd)
	r.removed = true
	p.unreport(r)
}

// unreport forgets what was to be reported of r. The caller has mu.
func (p *netPoller) unreport(r *netRegistration) {
	if r.pending == 0 {
		return
	}
	r.pending = 0
	for i, other := range p.changed {
		if other == r {
			p.changed = append(p.changed[:i], p.changed[i+1:]...)
			return
		}
	}
}

func (p *netPoller) Wait(events []Event, timeout time.Duration) (int, error) {
	n, done, err := p.look(events)
	if done || err != nil {
		return n, err
	}
	if timeout == 0 {
		// Whoever never waits must not keep those from running who have something to tell.
		runtime.Gosched()
		n, _, err = p.look(events)
		return n, err
	}
	if timeout < 0 {
		return p.wait(events, nil)
	}
	if p.timer == nil {
		p.timer = time.NewTimer(timeout)
	} else {
		p.timer.Reset(timeout)
	}
	n, err = p.wait(events, p.timer.C)
	p.timer.Stop()
	return n, err
}

// wait looks until there is something to report or the time has expired.
func (p *netPoller) wait(events []Event, expired <-chan time.Time) (int, error) {
	for {
		over := false
		select {
		case <-p.signal:
		case <-expired:
			over = true // but there may be something
		}
		n, done, err := p.look(events)
		if done || over {
			return n, err
		}
	}
}

// look takes what there is to report, and reports whether Wait has to return.
func (p *netPoller) look(events []Event) (n int, done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, true, ErrClosed
	}
	if len(events) == 0 {
		return 0, true, os.NewSyscallError("wait", syscall.EINVAL)
	}
	n = min(len(events), len(p.changed))
	for i, r := range p.changed[:n] {
		events[i] = Event{r.token, r.pending}
		r.pending = 0
	}
	left := copy(p.changed, p.changed[n:])
	clear(p.changed[left:])
	p.changed = p.changed[:left]
	done = n > 0 || p.woken
	p.woken = false
	return n, done, nil
}

func (p *netPoller) Wake() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.woken = true
	p.tell()
	return nil
}

func (p *netPoller) Close() error {
	p.control.Lock()
	defer p.control.Unlock()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	p.closed = true
	p.tell()
	p.mu.Unlock()
	for fd := range p.registered { // nobody changes it any more
		sys.Net.Watch(fd, nil)
	}
	return nil
}
