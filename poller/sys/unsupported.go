//go:build !linux

package sys

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"
)

// Host is the kernel of this machine: one that strand cannot drive yet. Every call fails.
var Host Kernel = &host{}

type host struct{}

// ENONET is no error here.
const ENONET syscall.Errno = 0

type readiness interface{}

// Batches have nothing to prepare here.
type (
	recvHeaders struct{}
	sendHeaders struct{}
)

func (recvHeaders) prepare(*RecvBatch) {}
func (sendHeaders) prepare(int)        {}
func (sendHeaders) capacity() int      { return 0 }

// Add would add a message; the batch is full from the beginning.
func (*SendBatch) Add(Message, bool) {}

// SetData would change what a message is to send.
func (*SendBatch) SetData(int, []byte, int) {}

// Listen is the Listen of config.
func Listen(config *net.ListenConfig, network, address string) (net.Listener, error) {
	return config.Listen(context.Background(), network, address)
}

func (*host) Listen(network, address string) (int, net.Addr, error) {
	return -1, nil, fmt.Errorf("strand: listen on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (h *host) ListenShared(network, address string) (int, net.Addr, error) {
	return h.Listen(network, address)
}

func (*host) ListenPacket(network, address string) (int, net.Addr, error) {
	return -1, nil, fmt.Errorf("strand: listen on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (*host) RecvFrom(int, []byte) (n, size int, from netip.AddrPort, errno syscall.Errno) {
	return 0, 0, netip.AddrPort{}, syscall.ENOSYS
}

func (*host) Accept(int) (int, netip.AddrPort, syscall.Errno) {
	return -1, netip.AddrPort{}, syscall.ENOSYS
}
func (*host) LocalAddr(int) (netip.AddrPort, syscall.Errno)           { return netip.AddrPort{}, syscall.ENOSYS }
func (*host) Recv(int, []byte) (int, syscall.Errno)                   { return 0, syscall.ENOSYS }
func (*host) Send(int, []byte) (int, syscall.Errno)                   { return 0, syscall.ENOSYS }
func (*host) Sendv(int, [][]byte) (int, syscall.Errno)                { return 0, syscall.ENOSYS }
func (*host) Shutdown(int, int) syscall.Errno                         { return syscall.ENOSYS }
func (*host) Adopt(syscall.Conn) (int, error)                         { return -1, syscall.ENOSYS }
func (*host) Connect(_, _ net.Addr) (int, error)                      { return -1, syscall.ENOSYS }
func (*host) Connected(int) syscall.Errno                             { return syscall.ENOSYS }
func (*host) SetNoDelay(int, bool) syscall.Errno                      { return syscall.ENOSYS }
func (*host) SetKeepAlive(int, net.KeepAliveConfig) syscall.Errno     { return syscall.ENOSYS }
func (*host) SetLinger(_, _ int) syscall.Errno                        { return syscall.ENOSYS }
func (*host) SetReadBuffer(_, _ int) syscall.Errno                    { return syscall.ENOSYS }
func (*host) SetWriteBuffer(_, _ int) syscall.Errno                   { return syscall.ENOSYS }
func (*host) TCPInfo(int) (TCPInfo, syscall.Errno)                    { return TCPInfo{}, syscall.ENOSYS }
func (*host) Ended(int) (bool, bool, syscall.Errno)                   { return false, false, syscall.ENOSYS }
func (*host) Sendfile(_, _ int, _ *int64, _ int) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func (*host) Pipe() (int, int, syscall.Errno)                         { return -1, -1, syscall.ENOSYS }
func (*host) Splice(_, _, _ int) (int, syscall.Errno)                 { return 0, syscall.ENOSYS }
func (*host) SharePacket(int) (int, error)                            { return -1, errors.ErrUnsupported }
func (*host) CoalescePackets(int) syscall.Errno                       { return syscall.ENOSYS }
func (*host) CanSegment(int) bool                                     { return false }
func (*host) SendTo(int, []byte, netip.AddrPort, bool) syscall.Errno  { return syscall.ENOSYS }
func (*host) RecvBatch(int, *RecvBatch) (int, syscall.Errno)          { return 0, syscall.ENOSYS }
func (*host) SendBatch(int, *SendBatch, int) (int, syscall.Errno)     { return 0, syscall.ENOSYS }
func (*host) Close(int) syscall.Errno                                 { return syscall.ENOSYS }
func (*host) Nanotime() int64                                         { return 0 }
func (*host) NanotimeAt(time.Time) int64                              { return 0 }
func (*host) Thread() int                                             { return 0 }
func (*host) ThreadTime(int) (int64, bool)                            { return 0, false }
func (*host) Runnable(int) bool                                       { return false }
