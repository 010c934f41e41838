package systest

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/strand-net/strand/poller/sys"
)

// This kernel knows no datagrams.

// ListenPacket fails with errors.ErrUnsupported.
func (k *Kernel) ListenPacket(network, _ string) (int, net.Addr, error) {
	return -1, nil, &net.OpError{Op: "listen", Net: network, Err: errors.ErrUnsupported}
}

// SharePacket fails with errors.ErrUnsupported.
func (k *Kernel) SharePacket(int) (int, error) { return -1, errors.ErrUnsupported }

// The others fail with ENOSYS.

func (k *Kernel) CoalescePackets(int) syscall.Errno { return syscall.ENOSYS }
func (k *Kernel) CanSegment(int) bool               { return false }
func (k *Kernel) RecvFrom(int, []byte) (n, size int, from netip.AddrPort, errno syscall.Errno) {
	return 0, 0, netip.AddrPort{}, syscall.ENOSYS
}
func (k *Kernel) SendTo(int, []byte, netip.AddrPort, bool) syscall.Errno  { return syscall.ENOSYS }
func (k *Kernel) RecvBatch(int, *sys.RecvBatch) (int, syscall.Errno)      { return 0, syscall.ENOSYS }
func (k *Kernel) SendBatch(int, *sys.SendBatch, int) (int, syscall.Errno) { return 0, syscall.ENOSYS }
