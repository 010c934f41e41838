package sys

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Net is a kernel made of package net: it needs no more than that, so it is what strand runs on where there is no other
// (docs/platforms.md). Its descriptors are its own numbers, which mean nothing to the operating system. Behind each stand goroutines
// that wait in package net's calls and keep a bounded amount of what has come, or is to go; so readiness is what it is in any
// kernel.
var Net = &NetKernel{descriptors: make(map[int]netDescriptor), shared: make(map[string]*netSocket)}

// NetKernel is the type of [Net]. Its methods are safe from any goroutine.
type NetKernel struct {
	netBase

	mu          sync.RWMutex
	descriptors map[int]netDescriptor
	last        int
	shared      map[string]*netSocket // by address: those of ListenShared
}

// Condition is a set of what holds for a descriptor of [Net]. The values are those of package poller's Readiness.
type Condition uint8

const (
	Readable Condition = 1 << iota
	Writable
	ReadClosed
	Closed
)

// Watcher is told of a descriptor's changes.
type Watcher interface {
	// Ready says that something has begun to hold, or that more has come of what held. It must not block, nor call Net.
	Ready(Condition)
}

// netDescriptor is what stands behind a number.
type netDescriptor interface {
	// watch tells w of what holds, and of each change, until it is replaced; nil ends that.
	watch(w Watcher)
	close()
	localAddr() net.Addr
	// raw is the object of package net, nil if there is none yet.
	raw() any
}

const (
	// firstNetDescriptor is above what any operating system hands out, so that the one cannot be taken for the other. Numbers are
	// not used again before all others have been.
	firstNetDescriptor = 1 << 28
	netDescriptors     = 1 << 28
)

func (k *NetKernel) add(d netDescriptor) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		fd := firstNetDescriptor + k.last
		k.last = (k.last + 1) % netDescriptors
		if k.descriptors[fd] == nil {
			k.descriptors[fd] = d
			return fd
		}
	}
}

func (k *NetKernel) find(fd int) netDescriptor {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.descriptors[fd]
}

// conn is what stands behind a number that must be that of a connection.
func (k *NetKernel) conn(fd int) (*netConn, syscall.Errno) {
	switch d := k.find(fd).(type) {
	case *netConn:
		return d, 0
	case nil:
		return nil, syscall.EBADF
	}
	return nil, syscall.ENOTCONN
}

// Watch has w told of what holds for fd, and of each change from here on, instead of whoever was told before; nil ends that. When it
// has returned, nobody else is told any more.
func (k *NetKernel) Watch(fd int, w Watcher) syscall.Errno {
	d := k.find(fd)
	if d == nil {
		return syscall.EBADF
	}
	d.watch(w)
	return 0
}

// IsOpen reports whether fd is open.
func (k *NetKernel) IsOpen(fd int) bool { return k.find(fd) != nil }

// Listen listens as package net does.
func (k *NetKernel) Listen(network, address string) (int, net.Addr, error) {
	listener, err := Listen(new(net.ListenConfig), network, address)
	if err != nil {
		return -1, nil, err
	}
	if unixListener, ok := listener.(*net.UnixListener); ok {
		unixListener.SetUnlinkOnClose(false) // the file is that of whoever asked
	}
	fd, _ := k.listen(&netSocket{listener: listener})
	return fd, listener.Addr(), nil
}

// listen makes a descriptor that accepts from socket. It fails if that has been closed meanwhile.
func (k *NetKernel) listen(socket *netSocket) (int, bool) {
	ln := &netListener{socket: socket}
	if !socket.join(ln) {
		return -1, false
	}
	return k.add(ln), true
}

// ListenShared shares what it has bound itself, with whoever asks for the same address: the connections go around.
func (k *NetKernel) ListenShared(network, address string) (int, net.Addr, error) {
	if socket := k.findShared(network, address); socket != nil {
		if fd, ok := k.listen(socket); ok {
			return fd, socket.listener.Addr(), nil
		}
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), network, address)
	if err != nil {
		return -1, nil, err
	}
	addr := listener.Addr()
	socket := &netSocket{listener: listener, left: func() { k.forgetShared(addr.String()) }}
	fd, _ := k.listen(socket)
	k.mu.Lock()
	k.shared[addr.String()] = socket
	k.mu.Unlock()
	return fd, addr, nil
}

func (k *NetKernel) findShared(network, address string) *netSocket {
	addr, err := net.ResolveTCPAddr(network, address)
	if err != nil {
		return nil // it cannot be bound either, which says why
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.shared[addr.String()]
}

func (k *NetKernel) forgetShared(address string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.shared, address)
}

// Adopt uses a duplicate of what it gets, or, where there are none, the listener itself: then the original has to stay open.
func (k *NetKernel) Adopt(conn syscall.Conn) (int, error) {
	switch conn := conn.(type) {
	case net.Conn:
		duplicate, err := duplicateConn(conn)
		if err != nil {
			return -1, err
		}
		c := newNetConn(duplicate)
		c.start()
		return k.add(c), nil
	case net.Listener:
		listener, own, err := duplicateListener(conn)
		if err != nil {
			return -1, err
		}
		fd, _ := k.listen(&netSocket{listener: listener, borrowed: !own})
		return fd, nil
	}
	return -1, fmt.Errorf("strand: adopt a %T: %w", conn, os.ErrInvalid)
}

func duplicateConn(original net.Conn) (net.Conn, error) {
	filer, ok := original.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("strand: adopt a %T: %w", original, os.ErrInvalid)
	}
	file, err := filer.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return net.FileConn(file)
}

// duplicateListener reports own as false if the listener is the original.
func duplicateListener(original net.Listener) (listener net.Listener, own bool, err error) {
	filer, ok := original.(interface{ File() (*os.File, error) })
	if !ok {
		return original, false, nil
	}
	file, err := filer.File()
	if err != nil {
		if errnoFrom(err) == syscall.EBADF {
			return nil, false, err
		}
		return original, false, nil
	}
	defer file.Close()
	listener, err = net.FileListener(file)
	if err != nil {
		return original, false, nil
	}
	if unixListener, ok := listener.(*net.UnixListener); ok {
		unixListener.SetUnlinkOnClose(false)
	}
	return listener, true, nil
}

func (k *NetKernel) Accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	ln, ok := k.find(fd).(*netListener)
	if !ok {
		return -1, netip.AddrPort{}, syscall.EBADF
	}
	c, errno := ln.accept()
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return k.add(c), addrPortOf(c.conn.RemoteAddr()), 0
}

func (k *NetKernel) LocalAddr(fd int) (netip.AddrPort, syscall.Errno) {
	d := k.find(fd)
	if d == nil {
		return netip.AddrPort{}, syscall.EBADF
	}
	return addrPortOf(d.localAddr()), 0
}

// addrPortOf returns the zero AddrPort for what is no address of IP.
func addrPortOf(addr net.Addr) netip.AddrPort {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		if addr != nil {
			return addr.AddrPort()
		}
	case *net.UDPAddr:
		return addr.AddrPort()
	}
	return netip.AddrPort{}
}

func (k *NetKernel) Recv(fd int, p []byte) (int, syscall.Errno) {
	c, errno := k.conn(fd)
	if errno != 0 {
		return 0, errno
	}
	return c.recv(p[:min(len(p), MaxTransfer)])
}

func (k *NetKernel) Send(fd int, p []byte) (int, syscall.Errno) {
	c, errno := k.conn(fd)
	if errno != 0 {
		return 0, errno
	}
	return c.send(p[:min(len(p), MaxTransfer)])
}

func (k *NetKernel) Sendv(fd int, bufs [][]byte) (int, syscall.Errno) {
	c, errno := k.conn(fd)
	if errno != 0 {
		return 0, errno
	}
	return c.send(bufs[:min(len(bufs), MaxVectors)]...)
}

func (k *NetKernel) Shutdown(fd, how int) syscall.Errno {
	c, errno := k.conn(fd)
	if errno != 0 {
		return errno
	}
	return c.shutdown(how)
}

func (k *NetKernel) Close(fd int) syscall.Errno {
	k.mu.Lock()
	d := k.descriptors[fd]
	delete(k.descriptors, fd)
	k.mu.Unlock()
	if d == nil {
		return syscall.EBADF
	}
	d.close()
	return 0
}

// Control fails with ENOSYS where package net has no descriptors either.
func (k *NetKernel) Control(fd int, do func(fd uintptr)) syscall.Errno {
	d := k.find(fd)
	if d == nil {
		return syscall.EBADF
	}
	conn, ok := d.raw().(syscall.Conn)
	if !ok {
		return syscall.ENOSYS
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return syscall.ENOSYS
	}
	if raw.Control(do) != nil {
		return syscall.ENOSYS
	}
	return 0
}

// Direct is false: what is read or written elsewhere misses what is kept here.
func (k *NetKernel) Direct() bool { return false }

func (*NetKernel) Nanotime() int64 { return int64(time.Since(started)) }

func (*NetKernel) NanotimeAt(t time.Time) int64 { return int64(t.Sub(started)) }

// What moves bytes past the program has no counterpart in package net that does not wait.

func (*NetKernel) Sendfile(_, _ int, _ *int64, _ int) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func (*NetKernel) Pipe() (int, int, syscall.Errno)                         { return -1, -1, syscall.ENOSYS }
func (*NetKernel) Splice(_, _, _ int) (int, syscall.Errno)                 { return 0, syscall.ENOSYS }
