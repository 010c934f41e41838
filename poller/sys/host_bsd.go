//go:build (darwin || dragonfly || freebsd || netbsd || openbsd) && !386 && !arm

package sys

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is the kernel of this machine.
var Host Kernel = &host{}

// host goes through packages syscall and unix, which call the C library where the system wants that: raw system calls are for Linux
// only. So every call tells the scheduler.
type host struct{}

// Errors that accept(2) may pass on. ENONET is none here.
const (
	ENONET    syscall.Errno = 0
	EHOSTDOWN               = syscall.EHOSTDOWN
)

// Accept gives a connection the options of package net itself: no manual page says that it has those of the listening socket.
func (*host) Accept(fd int) (int, netip.AddrPort, syscall.Errno) {
	conn, from, err := accept(fd)
	if err != nil {
		return -1, netip.AddrPort{}, errnoOf(err)
	}
	refuseSignal(conn)
	peer := addrPort(from)
	if peer.IsValid() {
		_ = setDefaults(conn) // fails if the connection is gone already (EINVAL), which reading will say
	}
	return conn, peer, 0
}

func (*host) LocalAddr(fd int) (netip.AddrPort, syscall.Errno) {
	address, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, errnoOf(err)
	}
	return addrPort(address), 0
}

// Recv is read(2) of package syscall, by which the race detector knows what was sent before, as [host.Send] is its write(2).
func (*host) Recv(fd int, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(fd, p[:min(len(p), MaxTransfer)])
	if err != nil {
		return 0, errnoOf(err)
	}
	return n, 0
}

func (*host) Send(fd int, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(fd, p[:min(len(p), MaxTransfer)])
	if err != nil {
		return 0, errnoOf(err)
	}
	return n, 0
}

func (*host) Sendv(fd int, bufs [][]byte) (int, syscall.Errno) {
	var vectors [MaxVectors][]byte
	count, left := 0, MaxTransfer
	for _, buf := range bufs {
		if len(buf) == 0 {
			continue
		}
		if count == len(vectors) || left == 0 {
			break
		}
		vectors[count] = buf[:min(len(buf), left)]
		left -= len(vectors[count])
		count++
	}
	sending()
	n, err := unix.SendmsgBuffers(fd, vectors[:count], nil, nil, unix.MSG_NOSIGNAL)
	if err != nil {
		return 0, errnoOf(err)
	}
	return n, 0
}

func (*host) Shutdown(fd, how int) syscall.Errno { return errnoOf(unix.Shutdown(fd, how)) }

func (*host) Close(fd int) syscall.Errno { return errnoOf(unix.Close(fd)) }

// Thread is none: nothing is known of threads.
func (*host) Thread() int                  { return 0 }
func (*host) ThreadTime(int) (int64, bool) { return 0, false }
func (*host) Runnable(int) bool            { return false }
