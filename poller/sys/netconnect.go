package sys

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Connect leaves what there is to say of the addresses to Connected, but for their kinds.
func (k *NetKernel) Connect(local, remote net.Addr) (int, error) {
	if err := checkPair(local, remote); err != nil {
		return -1, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := newNetConn(nil)
	c.cancel = cancel
	fd := k.add(c)
	go unlabelled(func() { c.dial(ctx, &net.Dialer{LocalAddr: local}, remote) })
	return fd, nil
}

// checkPair finds fault with addresses as the kernel that has system calls for them does.
func checkPair(local, remote net.Addr) error {
	switch remote := remote.(type) {
	case *net.TCPAddr:
		if size := len(remote.IP); size != 0 && size != net.IPv4len && size != net.IPv6len {
			return &net.AddrError{Err: "invalid IP address", Addr: remote.String()}
		}
	case *net.UnixAddr:
	default:
		return fmt.Errorf("strand: connect: address of type %T: %w", remote, os.ErrInvalid)
	}
	if local != nil && (local.Network() != remote.Network() || !sameFamily(local, remote)) {
		return &net.AddrError{Err: "mismatched local address type", Addr: local.String()}
	}
	return nil
}

// sameFamily tells IPv4 from IPv6.
func sameFamily(a, b net.Addr) bool {
	first, ok := a.(*net.TCPAddr)
	second, both := b.(*net.TCPAddr)
	if !ok || !both {
		return ok == both
	}
	return isIPv4(first) == isIPv4(second)
}

// isIPv4 takes an address without one for IPv4's.
func isIPv4(addr *net.TCPAddr) bool { return len(addr.IP) == 0 || addr.IP.To4() != nil }

// dial makes the connection.
func (c *netConn) dial(ctx context.Context, dialer *net.Dialer, remote net.Addr) {
	conn, err := dialer.DialContext(ctx, remote.Network(), remote.String())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel()
	c.cancel = nil
	switch {
	case c.closed:
		if err == nil {
			reset(conn)
		}
	case err != nil:
		c.fail(errnoFrom(err))
	default:
		c.conn = conn
		c.start()
		c.tell(c.holds())
	}
}

func (k *NetKernel) Connected(fd int) syscall.Errno {
	c, errno := k.conn(fd)
	if errno != 0 {
		return errno
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failed != 0 && c.conn == nil:
		return c.failed
	case c.conn == nil:
		return syscall.EINPROGRESS
	}
	return 0
}
