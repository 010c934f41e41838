package loop

import (
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// SendFile sends up to n bytes of an open file: from its offset on, and moves that, or, if from is not nil, from there on, and
// moves from alone. It may send less for lack of room or of bytes; 0 means the end of the file. It fails with [ErrNotReady] or an
// *os.SyscallError. The caller must have the turn of the write side.
func (s *Socket) SendFile(file uintptr, from *int64, n int) (int, error) {
	return s.transfer(WriteSide, "sendfile", func() (int, syscall.Errno) {
		return s.loop.engine.kernel.Sendfile(int(s.fd), int(file), from, n)
	})
}

// Pipe is what Splice moves bytes through, from socket to socket without copying them. One goroutine at a time may use it.
type Pipe struct {
	engine *Engine
	r, w   int
	held   int // bytes in it
}

// maxIdlePipes is how many pipes an engine keeps for the next splice: two for each transfer that has bytes in flight, and
// there are only so many of these at a time.
const maxIdlePipes = 32

// pipes are those that nobody uses.
type pipes struct {
	mu     sync.Mutex
	idle   []*Pipe
	closed bool
}

// Pipe lends an empty pipe. It fails with an *os.SyscallError: where the platform has none, with ENOSYS.
func (e *Engine) Pipe() (*Pipe, error) {
	e.pipes.mu.Lock()
	if n := len(e.pipes.idle); n > 0 {
		p := e.pipes.idle[n-1]
		e.pipes.idle = e.pipes.idle[:n-1]
		e.pipes.mu.Unlock()
		return p, nil
	}
	e.pipes.mu.Unlock()
	r, w, errno := e.kernel.Pipe()
	if errno != 0 {
		return nil, os.NewSyscallError("pipe2", errno)
	}
	return &Pipe{engine: e, r: r, w: w}, nil
}

// Release gives the pipe back. What is in it is lost.
func (p *Pipe) Release() {
	pipes := &p.engine.pipes
	pipes.mu.Lock()
	keep := p.held == 0 && len(pipes.idle) < maxIdlePipes && !pipes.closed
	if keep {
		pipes.idle = append(pipes.idle, p)
	}
	pipes.mu.Unlock()
	if !keep {
		p.close()
	}
}

func (p *Pipe) close() {
	p.engine.closeDescriptor(p.r)
	p.engine.closeDescriptor(p.w)
}

// Held returns how many bytes are in the pipe.
func (p *Pipe) Held() int { return p.held }

func (p *pipes) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop()
}

// drop closes those that nobody uses.
func (p *pipes) drop() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, pipe := range idle {
		pipe.close()
	}
}

// SpliceTo moves up to n bytes of input into the pipe, which must be empty. It fails with [ErrNotReady], io.EOF or an
// *os.SyscallError, and leaves the read side ready as [Socket.Recv] does. The caller must have the turn of the read side.
func (s *Socket) SpliceTo(p *Pipe, n int) (int, error) {
	n, err := s.transfer(ReadSide, "splice", func() (int, syscall.Errno) {
		return s.loop.engine.kernel.Splice(int(s.fd), p.w, min(n, sys.MaxTransfer))
	})
	p.held += n
	if err == ErrNotReady {
		return 0, err
	}
	// How much it moved says nothing of how much there was: the pipe's pages may have run out.
	s.Reopen(ReadSide)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

// SpliceFrom moves what is in the pipe to the socket, as much as there is room for. It fails with [ErrNotReady] or an
// *os.SyscallError. The caller must have the turn of the write side.
func (s *Socket) SpliceFrom(p *Pipe) (int, error) {
	n, err := s.transfer(WriteSide, "splice", func() (int, syscall.Errno) {
		return s.loop.engine.kernel.Splice(p.r, int(s.fd), p.held)
	})
	p.held -= n
	return n, err
}
