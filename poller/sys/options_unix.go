//go:build linux || ((darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm)

package sys

import (
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The keep-alive of package net, for connections that nobody has set another for.
const (
	defaultKeepAlive      = 15 * time.Second
	defaultKeepAliveCount = 9
)

// setDefaults gives a TCP socket the options that package net gives its connections.
func setDefaults(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if errno := setKeepAlive(fd, net.KeepAliveConfig{Enable: true}); errno != 0 {
		return os.NewSyscallError("setsockopt", errno)
	}
	return nil
}

func (*host) SetNoDelay(fd int, on bool) syscall.Errno {
	return setOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, boolInt(on))
}

func (*host) SetKeepAlive(fd int, config net.KeepAliveConfig) syscall.Errno {
	return setKeepAlive(fd, config)
}

// setKeepAlive takes what is 0 as package net's own value, and leaves alone what is negative.
func setKeepAlive(fd int, config net.KeepAliveConfig) syscall.Errno {
	if errno := setOption(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, boolInt(config.Enable)); errno != 0 || !config.Enable {
		return errno
	}
	if config.Count == 0 {
		config.Count = defaultKeepAliveCount
	}
	for _, option := range keepAliveOptions(config) {
		if option.value < 0 {
			continue
		}
		if errno := setOption(fd, unix.IPPROTO_TCP, option.name, option.value); errno != 0 {
			return errno
		}
	}
	return 0
}

// option is one of TCP and its value; a negative one is to be left as it is.
type option struct{ name, value int }

// seconds rounds up: the kernel counts in whole ones (tcp(7), tcp(4)).
func seconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	if d == 0 {
		d = defaultKeepAlive
	}
	return int((d + time.Second - 1) / time.Second)
}

func (*host) SetLinger(fd, seconds int) syscall.Errno {
	linger := unix.Linger{Onoff: 1, Linger: int32(seconds)}
	if seconds < 0 {
		linger = unix.Linger{}
	}
	return errnoOf(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger))
}

func (*host) SetReadBuffer(fd, bytes int) syscall.Errno {
	return setOption(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
}

func (*host) SetWriteBuffer(fd, bytes int) syscall.Errno {
	return setOption(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bytes)
}

func setOption(fd, level, name, value int) syscall.Errno {
	return errnoOf(unix.SetsockoptInt(fd, level, name, value))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// errnoOf undoes the boxing of package unix.
func errnoOf(err error) syscall.Errno {
	errno, _ := err.(syscall.Errno)
	return errno
}
