//go:build (darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm

package sys

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

func (*host) ListenPacket(network, address string) (int, net.Addr, error) {
	conn, err := new(net.ListenConfig).ListenPacket(context.Background(), network, address)
	if err != nil {
		return -1, nil, err
	}
	defer conn.Close()
	fd, err := duplicate(conn.(syscall.Conn))
	return fd, conn.LocalAddr(), err
}

// SharePacket is for systems that deal what comes by its addresses: no manual page of these says that they do.
func (*host) SharePacket(int) (int, error) {
	return -1, fmt.Errorf("strand: %s does not spread datagrams over sockets that share an address: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (*host) CoalescePackets(int) syscall.Errno { return syscall.ENOSYS }
func (*host) CanSegment(int) bool               { return false }

// RecvFrom asks for one byte more than fits, which tells whether something is lost; how much, these systems do not tell (recvfrom(2)).
func (*host) RecvFrom(fd int, p []byte) (n, size int, from netip.AddrPort, errno syscall.Errno) {
	var more [1]byte
	n, _, flags, address, err := unix.RecvmsgBuffers(fd, [][]byte{p, more[:]}, nil, 0)
	if err != nil {
		return 0, 0, netip.AddrPort{}, errnoOf(err)
	}
	size = n
	if flags&unix.MSG_TRUNC != 0 {
		size = max(size, len(p)+1)
	}
	peer := addrPort(address)
	return min(n, len(p)), size, netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), 0
}

func (*host) SendTo(fd int, p []byte, to netip.AddrPort, inet6 bool) syscall.Errno {
	sending()
	return errnoOf(unix.Sendto(fd, p, unix.MSG_NOSIGNAL, peerSockaddr(to, inet6)))
}

// peerSockaddr is an address as a socket of IPv6 or of IPv4 has it. One of the other kind becomes one that the kernel refuses.
func peerSockaddr(to netip.AddrPort, inet6 bool) unix.Sockaddr {
	ip := to.Addr()
	if inet6 || ip.Is6() && !ip.Is4In6() {
		return &unix.SockaddrInet6{Addr: ip.As16(), Port: int(to.Port()), ZoneId: zoneIndex(ip.Zone())}
	}
	return &unix.SockaddrInet4{Addr: ip.As4(), Port: int(to.Port())}
}

func (h *host) RecvBatch(fd int, b *RecvBatch) (int, syscall.Errno) {
	return recvEach(func(p []byte) (int, netip.AddrPort, syscall.Errno) {
		n, _, from, errno := h.RecvFrom(fd, p)
		return n, from, errno
	}, b)
}

func (h *host) SendBatch(fd int, b *SendBatch, first int) (int, syscall.Errno) {
	address, errno := h.LocalAddr(fd)
	if errno != 0 {
		return 0, errno
	}
	return sendEach(func(p []byte, to netip.AddrPort) syscall.Errno { return h.SendTo(fd, p, to, address.Addr().Is6()) }, b, first)
}
