//go:build !linux

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
)

// udpSocket is for systems that send and take many datagrams in one call.
type udpSocket struct{}

func openUDPSocket(netip.AddrPort, int) (*udpSocket, error) {
	return nil, fmt.Errorf("the load of datagrams on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (*udpSocket) close()                {}
func (*udpSocket) receive() (int, error) { return 0, errors.ErrUnsupported }
func (*udpSocket) datagram(int) ([]byte, netip.AddrPort, netip.Addr) {
	return nil, netip.AddrPort{}, netip.Addr{}
}
func (*udpSocket) set(int, []byte, netip.Addr) {}
func (*udpSocket) send(int) error              { return errors.ErrUnsupported }
