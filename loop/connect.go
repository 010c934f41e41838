package loop

import (
	"net"
	"os"
	"syscall"
)

// Connect makes s the socket of a connection to remote, from local unless that is nil, watched by l on behalf of owner. The
// attempt is over when the write side becomes ready, and [Socket.Connected] says how it went. It fails with an
// *os.SyscallError or [ErrEngineClosed]. Loop goroutine only.
func (l *Loop) Connect(s *Socket, local, remote net.Addr, owner Owner) error {
	if l.killed {
		return ErrEngineClosed
	}
	fd, err := l.engine.kernel.Connect(local, remote)
	if err != nil {
		return err
	}
	accepted := Accepted{fd: fd}
	if tcp, ok := remote.(*net.TCPAddr); ok {
		accepted.peer = tcp.AddrPort()
	}
	l.sockets.Add(1)
	return l.Attach(s, accepted, owner)
}

// Connected returns nil if the attempt that Connect began has succeeded, [ErrNotReady] while it goes on, and an
// *os.SyscallError when it has failed. The caller must have the turn of the write side.
func (s *Socket) Connected() error {
	switch errno := s.loop.engine.kernel.Connected(int(s.fd)); errno {
	case 0:
		return nil
	case syscall.EINPROGRESS:
		return ErrNotReady
	default:
		return os.NewSyscallError("connect", errno)
	}
}

// Choose returns the loop that has the fewest sockets.
func (e *Engine) Choose() *Loop { return e.leastLoaded(e.loops[0]) }
