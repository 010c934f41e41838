package systest

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// backlog is how many connections wait to be accepted; further ones are not answered.
const backlog = 128

type listener struct {
	kernel  *Kernel
	file    *file
	addr    net.Addr
	shared  bool // others may have the same address
	waiting []*endpoint
}

func (l *listener) conditions() uint32 {
	if len(l.waiting) > 0 {
		return unix.EPOLLIN
	}
	return 0
}

func (l *listener) release() {
	name := l.addr.String()
	l.kernel.listeners[name] = slices.DeleteFunc(l.kernel.listeners[name], func(other *listener) bool { return other == l })
	for _, e := range l.waiting {
		e.abort()
	}
	l.waiting = nil
}

// listener returns the one that a client of an address comes to: if several share it, client says which, as the kernel's hash does.
func (k *Kernel) listener(addr net.Addr, client int) *listener {
	all := k.listeners[addr.String()]
	if len(all) == 0 {
		return nil
	}
	return all[client%len(all)]
}

// Listen is net.Listen for "tcp", "tcp4", "tcp6" and "unix". A Unix socket is a name here, and no file.
func (k *Kernel) Listen(network, address string) (int, net.Addr, error) {
	return k.listen(network, address, false)
}

// ListenShared is Listen with SO_REUSEPORT.
func (k *Kernel) ListenShared(network, address string) (int, net.Addr, error) {
	return k.listen(network, address, true)
}

func (k *Kernel) listen(network, address string, shared bool) (int, net.Addr, error) {
	addr, err := netAddr(network, address)
	if err != nil {
		return -1, nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.Port == 0 {
		k.nextPort++
		tcp.Port = k.nextPort
	}
	l := &listener{kernel: k, addr: addr, shared: shared}
	errno := syscall.EADDRINUSE
	fd := -1
	name := addr.String()
	if !slices.ContainsFunc(k.listeners[name], func(other *listener) bool { return !shared || !other.shared }) {
		fd, errno = k.open(l)
	}
	if errno != 0 {
		return -1, nil, &net.OpError{Op: "listen", Net: network, Addr: addr, Err: os.NewSyscallError("bind", errno)}
	}
	k.listeners[name] = append(k.listeners[name], l)
	return fd, addr, nil
}

// Accept is accept4(2).
func (k *Kernel) Accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	k.enter("accept", fd)
	k.mu.Lock()
	defer k.mu.Unlock()
	conn, peer, errno := k.accept(fd)
	k.trace("accept", fd, conn, errno)
	return conn, peer, errno
}

func (k *Kernel) accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	f, errno := k.find("accept", fd)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	l, ok := f.what.(*listener)
	if !ok {
		k.violation("accept: descriptor %d is %s", fd, f.name())
		return -1, netip.AddrPort{}, syscall.EINVAL
	}
	if k.chance(f, k.faults.Interrupt) {
		return -1, netip.AddrPort{}, syscall.EINTR
	}
	if len(l.waiting) == 0 {
		return -1, netip.AddrPort{}, syscall.EAGAIN
	}
	e := l.waiting[0]
	if k.chance(f, k.faults.Abort) {
		l.waiting = l.waiting[1:]
		e.abort()
		return -1, netip.AddrPort{}, syscall.ECONNABORTED
	}
	conn, errno := k.open(e)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	l.waiting = l.waiting[1:]
	return conn, e.remote, 0
}

// LocalAddr is getsockname(2).
func (k *Kernel) LocalAddr(fd int) (netip.AddrPort, syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, errno := k.socket("getsockname", fd)
	if errno != 0 {
		return netip.AddrPort{}, errno
	}
	return e.local, 0
}
