//go:build unix

// Package pollref is a [poller.Poller] on poll(2), for tests: it shows that the interface asks for nothing that only
// epoll has, and lets the tests of higher packages run over readiness that is as spurious as the contract allows.
//
// poll(2) tells states, not changes. What has newly begun to hold is reported at once. What has been reported and
// still holds may have ended and begun again unseen, between a read and the next poll, so it is reported again, every
// [Pace]: nothing is lost, and nothing spins. Each Wait costs a look at all descriptors.
package pollref

import (
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
	"golang.org/x/sys/unix"
)

// Pace is the time between two reports of a condition that still holds.
const Pace = 2 * time.Millisecond

// New has the signature of [poller.New], so that it can stand in for it. The kernel is not used: descriptors must be
// those of the machine.
func New(sys.Kernel) (poller.Poller, error) {
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return nil, os.NewSyscallError("pipe", err)
	}
	for _, fd := range pipe {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			unix.Close(pipe[0])
			unix.Close(pipe[1])
			return nil, os.NewSyscallError("fcntl", err)
		}
	}
	p := &pollPoller{byFD: map[int]*registration{}, reader: pipe[0], writer: pipe[1]}
	p.left.L = &p.mu
	return p, nil
}

type pollPoller struct {
	mu    sync.Mutex // guards all that follows
	byFD  map[int]*registration
	queue []*registration // the same, those served longest ago first
	set   []unix.PollFd   // scratch: what poll(2) is asked

	reader, writer int  // a pipe that makes poll(2) return
	signalled      bool // there is a byte in it
	woken          bool // Wake was called since the last Wait returned
	waiting        bool // poll(2) is in progress, outside mu
	closed         bool
	left           sync.Cond // waiting has become false
}

type registration struct {
	fd       int
	token    poller.Token
	interest poller.Interest
	reported poller.Readiness // what has been reported, and has held at every look since
	again    time.Time        // when to report it again
}

func (p *pollPoller) Add(fd int, token poller.Token, interest poller.Interest) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.check(fd); err != nil {
		return err
	}
	if p.byFD[fd] != nil {
		return os.NewSyscallError("poll", syscall.EEXIST)
	}
	r := &registration{fd: fd, token: token, interest: interest}
	p.byFD[fd] = r
	p.queue = append(p.queue, r)
	return p.signal()
}

func (p *pollPoller) Modify(fd int, token poller.Token, interest poller.Interest) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.check(fd); err != nil {
		return err
	}
	r := p.byFD[fd]
	if r == nil {
		return os.NewSyscallError("poll", syscall.ENOENT)
	}
	r.token, r.interest, r.reported = token, interest, 0
	return p.signal()
}

func (p *pollPoller) Remove(fd int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.check(fd); err != nil {
		return err
	}
	r := p.byFD[fd]
	if r == nil {
		return os.NewSyscallError("poll", syscall.ENOENT)
	}
	p.forget(r)
	return p.signal()
}

// check fails if the Poller is closed or fd is not open: poll(2) itself would tell only later, by POLLNVAL.
func (p *pollPoller) check(fd int) error {
	if p.closed {
		return poller.ErrClosed
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return os.NewSyscallError("fcntl", err)
}

func (p *pollPoller) forget(r *registration) {
	delete(p.byFD, r.fd)
	for i, other := range p.queue {
		if other == r {
			p.queue = append(p.queue[:i], p.queue[i+1:]...)
			return
		}
	}
}

func (p *pollPoller) Wake() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return poller.ErrClosed
	}
	p.woken = true
	return p.signal()
}

// signal makes a poll(2) in progress return, so that Wait looks again. The caller holds mu.
func (p *pollPoller) signal() error {
	if !p.waiting || p.signalled {
		return nil
	}
	for {
		_, err := unix.Write(p.writer, []byte{0})
		if err != unix.EINTR {
			p.signalled = err == nil
			return os.NewSyscallError("write", err)
		}
	}
}

// Close waits until the Wait in progress has left poll(2), as the number of the pipe could else become another's.
func (p *pollPoller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return poller.ErrClosed
	}
	p.closed = true
	err := p.signal()
	for p.waiting {
		p.left.Wait()
	}
	unix.Close(p.reader)
	unix.Close(p.writer)
	return err
}
