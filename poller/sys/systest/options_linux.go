package systest

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/strand-net/strand/poller/sys"
)

// Adopt fails: nothing of package net is open in this kernel.
func (k *Kernel) Adopt(conn syscall.Conn) (int, error) {
	return -1, fmt.Errorf("systest: adopt a %T: %w", conn, errors.ErrUnsupported)
}

// SetLinger makes the end of a socket a reset if seconds is 0; what else it may be set to changes nothing.
func (k *Kernel) SetLinger(fd, seconds int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, errno := k.socket("setsockopt", fd)
	if errno == 0 {
		e.resets = seconds == 0
	}
	return errno
}

// The other options are taken, and change nothing.

func (k *Kernel) SetNoDelay(fd int, _ bool) syscall.Errno                  { return k.option(fd) }
func (k *Kernel) SetKeepAlive(fd int, _ net.KeepAliveConfig) syscall.Errno { return k.option(fd) }
func (k *Kernel) SetReadBuffer(fd, _ int) syscall.Errno                    { return k.option(fd) }
func (k *Kernel) SetWriteBuffer(fd, _ int) syscall.Errno                   { return k.option(fd) }

func (k *Kernel) option(fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, errno := k.socket("setsockopt", fd)
	return errno
}

// TCPInfo knows of no time that a byte takes.
func (k *Kernel) TCPInfo(fd int) (sys.TCPInfo, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, errno := k.socket("getsockopt", fd)
	if errno != 0 {
		return sys.TCPInfo{}, errno
	}
	if !e.remote.IsValid() {
		return sys.TCPInfo{}, syscall.EOPNOTSUPP
	}
	return sys.TCPInfo{Received: e.received, Sent: e.sent, Unacked: uint64(len(e.out))}, 0
}

// Ended is poll(2).
func (k *Kernel) Ended(fd int) (ended, failed bool, errno syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, errno := k.socket("poll", fd)
	if errno != 0 {
		return false, false, errno
	}
	now := e.conditions()
	return now&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0, now&unix.EPOLLERR != 0, 0
}

// This kernel moves no bytes by itself: programs have to be able to do without.

func (k *Kernel) Sendfile(_, _ int, _ *int64, _ int) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func (k *Kernel) Pipe() (int, int, syscall.Errno)                         { return -1, -1, syscall.ENOSYS }
func (k *Kernel) Splice(_, _, _ int) (int, syscall.Errno)                 { return 0, syscall.ENOSYS }
