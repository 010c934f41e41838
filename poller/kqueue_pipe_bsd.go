//go:build linux || ((netbsd || openbsd) && !386 && !arm)

package poller

import (
	"os"
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// NewKqueuePipe returns a Poller on kqueue(2), which a pipe wakes. On Linux it needs a kernel for tests.
func NewKqueuePipe(kernel sys.Kqueue) (Poller, error) {
	r, w, errno := kernel.WakePipe()
	if errno != 0 {
		return nil, os.NewSyscallError("pipe", errno)
	}
	q, err := newKqueue(kernel, &pipeWaker{kernel, r, w})
	if err != nil {
		return nil, err
	}
	return q, nil
}

// pipeWaker is a pipe that gets a byte.
type pipeWaker struct {
	kernel sys.Kqueue
	r, w   int
}

func (p *pipeWaker) start(kq int) error {
	event := sys.Kevent{Ident: uint64(p.r), Filter: sys.EVFILT_READ, Flags: sys.EV_ADD | sys.EV_CLEAR, Udata: uint64(Reserved)}
	return kqueueError(change(p.kernel, kq, []sys.Kevent{event}))
}

// signal makes room if there is none: bytes that nobody has taken out may have been told before.
func (p *pipeWaker) signal(int) (string, syscall.Errno) {
	errno := p.kernel.PutByte(p.w)
	if errno == syscall.EAGAIN {
		p.kernel.TakeBytes(p.r)
		errno = p.kernel.PutByte(p.w)
	}
	return "write", errno
}

func (p *pipeWaker) seen() { p.kernel.TakeBytes(p.r) }

func (p *pipeWaker) close() {
	p.kernel.Close(p.r)
	p.kernel.Close(p.w)
}
