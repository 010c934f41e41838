package sys

import (
	"net"
	"syscall"
)

// streamOptions are what connections of all kinds have in package net.
type streamOptions interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

func (k *NetKernel) SetNoDelay(fd int, on bool) syscall.Errno {
	return k.tcpOption(fd, func(_ *netConn, tcp *net.TCPConn) error { return tcp.SetNoDelay(on) })
}

func (k *NetKernel) SetKeepAlive(fd int, config net.KeepAliveConfig) syscall.Errno {
	return k.tcpOption(fd, func(_ *netConn, tcp *net.TCPConn) error {
		if !config.Enable {
			return tcp.SetKeepAlive(false)
		}
		return tcp.SetKeepAliveConfig(config)
	})
}

// SetLinger also counts for what Close does with bytes that have not left yet. A unix socket has nothing to reset.
func (k *NetKernel) SetLinger(fd, seconds int) syscall.Errno {
	errno := k.tcpOption(fd, func(c *netConn, tcp *net.TCPConn) error {
		c.linger = seconds
		return tcp.SetLinger(seconds)
	})
	if errno == syscall.EOPNOTSUPP {
		return 0
	}
	return errno
}

// SetReadBuffer and SetWriteBuffer also bound what is kept here.
func (k *NetKernel) SetReadBuffer(fd, bytes int) syscall.Errno {
	if p, errno := k.packet(fd); errno == 0 {
		return errnoFrom(p.conn.SetReadBuffer(bytes))
	}
	return k.streamOption(fd, func(c *netConn, stream streamOptions) error {
		c.in.limit = min(max(bytes, smallNetBuffer), netBuffer)
		return stream.SetReadBuffer(bytes)
	})
}

func (k *NetKernel) SetWriteBuffer(fd, bytes int) syscall.Errno {
	if p, errno := k.packet(fd); errno == 0 {
		return errnoFrom(p.conn.SetWriteBuffer(bytes))
	}
	return k.streamOption(fd, func(c *netConn, stream streamOptions) error {
		c.out.limit = min(max(bytes, smallNetBuffer), netBuffer)
		return stream.SetWriteBuffer(bytes)
	})
}

func (k *NetKernel) tcpOption(fd int, set func(*netConn, *net.TCPConn) error) syscall.Errno {
	c, errno := k.conn(fd)
	if errno != 0 {
		return errno
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		return errnoFrom(set(c, tcp))
	}
	return syscall.EOPNOTSUPP
}

func (k *NetKernel) streamOption(fd int, set func(*netConn, streamOptions) error) syscall.Errno {
	c, errno := k.conn(fd)
	if errno != 0 {
		return errno
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if stream, ok := c.conn.(streamOptions); ok {
		return errnoFrom(set(c, stream))
	}
	return syscall.EOPNOTSUPP
}

// TCPInfo knows what has passed through here: how many bytes, and how many the operating system has not taken yet, which are not
// acknowledged either. Of the network it knows nothing.
func (k *NetKernel) TCPInfo(fd int) (TCPInfo, syscall.Errno) {
	c, errno := k.conn(fd)
	if errno != 0 {
		return TCPInfo{}, errno
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.conn.(*net.TCPConn); !ok {
		return TCPInfo{}, syscall.EOPNOTSUPP
	}
	return TCPInfo{Received: c.in.total, Sent: c.out.total, Unacked: c.out.left}, 0
}

func (k *NetKernel) Ended(fd int) (ended, failed bool, errno syscall.Errno) {
	c, errno := k.conn(fd)
	if errno != 0 {
		return false, false, errno
	}
	ended, failed = c.ended()
	return ended, failed, 0
}
