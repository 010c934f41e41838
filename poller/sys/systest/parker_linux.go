package systest

import (
	"os"
	"time"

	"github.com/strand-net/strand/poller/sys"
)

type parker struct {
	kernel   *Kernel
	instance *instance
	epfd     int
	poll     func() bool
}

// NewParker takes over an epoll descriptor.
func (k *Kernel) NewParker(epfd int, poll func() bool) (sys.Parker, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	in, errno := k.instance("parker", epfd)
	if errno != 0 {
		return nil, os.NewSyscallError("epoll_wait", errno)
	}
	return &parker{kernel: k, instance: in, epfd: epfd, poll: poll}, nil
}

func (p *parker) Park(timeout time.Duration) error {
	var expired <-chan time.Time
	var until time.Time
	if timeout >= 0 {
		until = time.Now().Add(timeout)
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	over := func() bool { return timeout >= 0 && !time.Now().Before(until) }
	for {
		p.kernel.enterWhen("park", p.epfd, func() bool {
			ready, closed := p.state()
			return ready || closed || over()
		})
		if _, closed := p.state(); closed {
			return os.ErrClosed
		}
		if p.poll() {
			return nil
		}
		if over() {
			return os.ErrDeadlineExceeded
		}
		if p.kernel.options.Scheduler.holds("park") {
			continue // it says when there is a reason to look again
		}
		select {
		case <-p.instance.notify:
		case <-expired:
		}
	}
}

func (p *parker) state() (ready, closed bool) {
	p.kernel.mu.Lock()
	defer p.kernel.mu.Unlock()
	return len(p.instance.ready) > 0, p.instance.released
}

func (p *parker) Close() error {
	if errno := p.kernel.Close(p.epfd); errno != 0 {
		return os.NewSyscallError("close", errno)
	}
	return nil
}
