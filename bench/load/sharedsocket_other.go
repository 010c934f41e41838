//go:build !linux

package load

import (
	"errors"
	"net/netip"
	"syscall"
)

// sharedSocket is for systems that tell, and are told, the local address of each datagram.
type sharedSocket struct{ fd int }

func newSharedSocket(int) (*sharedSocket, error) { return nil, errors.ErrUnsupported }

func (*sharedSocket) close() {}

func (*sharedSocket) receive() (int, syscall.Errno) { return 0, syscall.ENOSYS }

func (*sharedSocket) datagram(int) ([]byte, netip.AddrPort, netip.Addr) {
	return nil, netip.AddrPort{}, netip.Addr{}
}

func (*sharedSocket) full() bool { return false }

func (*sharedSocket) add(int, netip.Addr, netip.AddrPort) []byte { return nil }

func (*sharedSocket) send() error { return syscall.ENOSYS }
