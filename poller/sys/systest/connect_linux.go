package systest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Connect is socket(2) and connect(2) from the side that is tested. The attempt is over at once, or with Options.Delayed when
// [Kernel.Deliver] comes to it; while the listener's backlog is full, it goes on.
func (k *Kernel) Connect(local, remote net.Addr) (int, error) {
	k.enter("connect", -1)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nextPeer++
	server, client := k.connectEnds(fmt.Sprintf("%d from here to %s", k.nextPeer, remote))
	fd, errno := k.open(client)
	if errno != 0 {
		server.dead, client.dead = true, true
		k.prune()
		return -1, os.NewSyscallError("socket", errno)
	}
	if tcp, ok := remote.(*net.TCPAddr); ok {
		client.remote = tcp.AddrPort()
		client.local = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(k.nextPeer >> 8), byte(k.nextPeer)}), uint16(20_000+k.nextPeer%40_000))
		if from, ok := local.(*net.TCPAddr); ok && from != nil {
			client.local = from.AddrPort()
		}
		server.local, server.remote = client.remote, client.local
	}
	client.connecting = remote
	if !k.options.Delayed {
		client.connect()
	}
	k.trace("connect", fd, 0, 0)
	return fd, nil
}

// connect ends the attempt, if it can end now. It reports whether it has.
func (e *endpoint) connect() bool {
	l := e.kernel.listener(e.connecting, int(e.local.Port()))
	if l != nil && len(l.waiting) >= backlog {
		return false
	}
	e.connecting = nil
	if l == nil {
		e.dead, e.other.dead = true, true
		e.err = syscall.ECONNREFUSED
		e.kernel.prune()
	} else {
		l.waiting = append(l.waiting, e.other)
		l.file.changed(0)
	}
	e.changed(0)
	return true
}

// Connected is getsockopt(2) of SO_ERROR, and getpeername(2).
func (k *Kernel) Connected(fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, errno := k.socket("getsockopt", fd)
	switch {
	case errno != 0:
		return errno
	case e.connecting != nil:
		return unix.EINPROGRESS
	case e.err != 0:
		return e.takeError()
	case e.dead:
		return syscall.ENOTCONN
	}
	return 0
}
