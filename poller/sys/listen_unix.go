//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen lets package net resolve, bind and listen, so that names, dual-stack rules, backlog and errors are its own,
// and keeps a duplicate of the descriptor. Options of the listening socket are inherited by what it accepts (tcp(7)).
func (*host) Listen(network, address string) (int, net.Addr, error) {
	config := net.ListenConfig{Control: inheritedOptions}
	listener, err := Listen(&config, network, address)
	if err != nil {
		return -1, nil, err
	}
	return take(listener)
}

func (*host) ListenShared(network, address string) (int, net.Addr, error) {
	if shareOption == 0 {
		return -1, nil, fmt.Errorf("strand: %s does not spread connections over sockets that share an address: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	config := net.ListenConfig{Control: func(network, address string, raw syscall.RawConn) error {
		var errno syscall.Errno
		if err := raw.Control(func(fd uintptr) { errno = setOption(int(fd), unix.SOL_SOCKET, shareOption, 1) }); err != nil {
			return err
		}
		if errno != 0 {
			return os.NewSyscallError("setsockopt", errno)
		}
		return inheritedOptions(network, address, raw)
	}}
	listener, err := config.Listen(context.Background(), network, address)
	if err != nil {
		return -1, nil, err
	}
	return take(listener)
}

// take keeps a duplicate of a listener's descriptor.
func take(listener net.Listener) (int, net.Addr, error) {
	defer listener.Close()
	if unixListener, ok := listener.(*net.UnixListener); ok {
		unixListener.SetUnlinkOnClose(false) // the duplicate goes on listening at that path
	}
	fd, err := duplicate(listener.(syscall.Conn))
	return fd, listener.Addr(), err
}

func inheritedOptions(network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	controlErr := raw.Control(func(fd uintptr) { err = setDefaults(int(fd)) })
	if controlErr != nil {
		return controlErr
	}
	return err
}

func (*host) Adopt(conn syscall.Conn) (int, error) {
	fd, err := duplicate(conn)
	if err != nil {
		return -1, err
	}
	refuseSignal(fd)
	if isTCPListener(fd) { // whoever made it has not set what the connections that it accepts are to have
		if err := setDefaults(fd); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func duplicate(conn syscall.Conn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	controlErr := raw.Control(func(original uintptr) {
		fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	})
	if controlErr != nil {
		return -1, controlErr
	}
	return fd, os.NewSyscallError("fcntl", err)
}
