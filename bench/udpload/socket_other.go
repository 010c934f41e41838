//go:build !linux

package udpload

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
)

// socket is for systems that send and take many datagrams in one call.
type socket struct{}

func openSocket(netip.AddrPort, int) (*socket, error) {
	return nil, fmt.Errorf("the load of datagrams on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (*socket) close()                {}
func (*socket) receive() (int, error) { return 0, errors.ErrUnsupported }
func (*socket) datagram(int) ([]byte, netip.AddrPort, netip.Addr) {
	return nil, netip.AddrPort{}, netip.Addr{}
}
func (*socket) set(int, []byte, netip.Addr) {}
func (*socket) send(int) error              { return errors.ErrUnsupported }
