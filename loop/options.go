package loop

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// The methods in this file may be called from any goroutine. They fail with net.ErrClosed after Close, and with an
// *os.SyscallError.

// What Shutdown ends.
const (
	ShutRead  = sys.ShutRead
	ShutWrite = sys.ShutWrite
	ShutBoth  = sys.ShutBoth
)

// Shutdown ends one or both directions of the connection: how is ShutRead, ShutWrite or ShutBoth.
func (s *Socket) Shutdown(how int) error {
	return s.apply("shutdown", func(k sys.Kernel) syscall.Errno { return k.Shutdown(int(s.fd), how) })
}

// SetNoDelay says whether small writes go out at once (TCP_NODELAY); it is on from the beginning.
func (s *Socket) SetNoDelay(on bool) error {
	return s.apply("setsockopt", func(k sys.Kernel) syscall.Errno { return k.SetNoDelay(int(s.fd), on) })
}

// SetKeepAlive says whether and when an idle connection is probed. Values are as in [net.KeepAliveConfig].
func (s *Socket) SetKeepAlive(config net.KeepAliveConfig) error {
	return s.apply("setsockopt", func(k sys.Kernel) syscall.Errno { return k.SetKeepAlive(int(s.fd), config) })
}

// SetLinger sets SO_LINGER to a number of seconds; 0 makes the close of the descriptor reset the connection, and a negative
// number turns it off.
func (s *Socket) SetLinger(seconds int) error {
	return s.apply("setsockopt", func(k sys.Kernel) syscall.Errno { return k.SetLinger(int(s.fd), seconds) })
}

// SetReadBuffer sets the size of the kernel's receive buffer (SO_RCVBUF), in bytes.
func (s *Socket) SetReadBuffer(bytes int) error {
	return s.apply("setsockopt", func(k sys.Kernel) syscall.Errno { return k.SetReadBuffer(int(s.fd), bytes) })
}

// SetWriteBuffer sets the size of the kernel's send buffer (SO_SNDBUF), in bytes.
func (s *Socket) SetWriteBuffer(bytes int) error {
	return s.apply("setsockopt", func(k sys.Kernel) syscall.Errno { return k.SetWriteBuffer(int(s.fd), bytes) })
}

// Info is what the kernel knows of a TCP connection. It fails with EOPNOTSUPP if the connection is none of TCP.
func (s *Socket) Info() (info sys.TCPInfo, err error) {
	err = s.apply("getsockopt", func(k sys.Kernel) (errno syscall.Errno) {
		info, errno = k.TCPInfo(int(s.fd))
		return errno
	})
	return info, err
}

// LastInfo is Info also after Close, for a caller that has a turn.
func (s *Socket) LastInfo() (sys.TCPInfo, error) {
	info, errno := s.loop.engine.kernel.TCPInfo(int(s.fd))
	if errno != 0 {
		return info, os.NewSyscallError("getsockopt", errno)
	}
	return info, nil
}

// Ended is what can be told of the connection without reading: nil, io.EOF if the peer has sent its last byte, though what came
// before it may be unread, or if this end reads no more, and ECONNRESET if the connection has failed.
func (s *Socket) Ended() error {
	var ended, failed bool
	err := s.apply("poll", func(k sys.Kernel) (errno syscall.Errno) {
		ended, failed, errno = k.Ended(int(s.fd))
		return errno
	})
	switch {
	case err != nil:
		return err
	case failed:
		return os.NewSyscallError("poll", syscall.ECONNRESET)
	case ended:
		return io.EOF
	}
	return nil
}

// Control calls do with the descriptor, which stays open until do has returned. do must not wait, read, write or close.
func (s *Socket) Control(do func(fd uintptr)) error {
	return s.apply("control", func(k sys.Kernel) syscall.Errno { return k.Control(int(s.fd), do) })
}

// Direct returns nil if the descriptor that Control passes on may be read and written, and errors.ErrUnsupported if not: over package net,
// bytes are also kept elsewhere.
func (s *Socket) Direct() error {
	if !s.loop.engine.kernel.Direct() {
		return errors.ErrUnsupported
	}
	return nil
}

// apply makes a short system call that needs no turn.
func (s *Socket) apply(name string, call func(sys.Kernel) syscall.Errno) error {
	if !s.turns.enter() {
		return net.ErrClosed
	}
	defer s.leave()
	if errno := call(s.loop.engine.kernel); errno != 0 {
		return os.NewSyscallError(name, errno)
	}
	return nil
}
