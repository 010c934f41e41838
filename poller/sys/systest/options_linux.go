package systest

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Adopt fails: nothing of package net is open in this kernel.
func (k *Kernel) Adopt(conn syscall.Conn) (int, error) {
	return -1, fmt.Errorf("systest: adopt a %T: %w", conn, errors.ErrUnsupported)
}

// The options of a socket are taken, and change nothing but the way it is closed.

func (k *Kernel) SetNoDelay(fd int, _ bool) syscall.Errno                  { return k.option(fd) }
func (k *Kernel) SetKeepAlive(fd int, _ net.KeepAliveConfig) syscall.Errno { return k.option(fd) }
func (k *Kernel) SetReadBuffer(fd, _ int) syscall.Errno                    { return k.option(fd) }
func (k *Kernel) SetWriteBuffer(fd, _ int) syscall.Errno                   { return k.option(fd) }

// SetLinger of 0 seconds makes the close a reset. Other numbers change nothing: no close waits here.
func (k *Kernel) SetLinger(fd, seconds int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, errno := k.socket("setsockopt", fd)
	if errno == 0 {
		e.resets = seconds == 0
	}
	return errno
}

func (k *Kernel) option(fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, errno := k.socket("setsockopt", fd)
	return errno
}

// This kernel moves no bytes by itself: programs have to be able to do without.

func (k *Kernel) Sendfile(_, _, _ int) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func (k *Kernel) Pipe() (int, int, syscall.Errno)           { return -1, -1, syscall.ENOSYS }
func (k *Kernel) Splice(_, _, _ int) (int, syscall.Errno)   { return 0, syscall.ENOSYS }
