package upgrade

import (
	"context"
	"net"
	"net/netip"
	"strings"
)

// isAt reports whether a socket that is bound to addr is what Listen or ListenPacket of network and address would bind.
func isAt(addr net.Addr, network, address string) bool {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		return strings.HasPrefix(network, "tcp") && isIPAt(addr.AddrPort(), network, address)
	case *net.UDPAddr:
		return strings.HasPrefix(network, "udp") && isIPAt(addr.AddrPort(), network, address)
	case *net.UnixAddr:
		return addr.Net == network && addr.Name == address && address != ""
	}
	return false
}

// isIPAt is isAt for an IP address. The network may name a family, and an address without a host, or with that of no
// interface, is any such address: package net binds both families for it, others may have bound one.
func isIPAt(addr netip.AddrPort, network, address string) bool {
	ip := addr.Addr().Unmap()
	switch network[len(network)-1] {
	case '4':
		if !ip.Is4() {
			return false
		}
	case '6':
		if !ip.Is6() {
			return false
		}
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	port, err := net.LookupPort(network, service)
	if err != nil || port != int(addr.Port()) {
		return false
	}
	if host == "" {
		return ip.IsUnspecified()
	}
	if literal, err := netip.ParseAddr(host); err == nil {
		return literal.Unmap() == ip || literal.IsUnspecified() && ip.IsUnspecified()
	}
	candidates, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
	if err != nil {
		return false // net.Listen will say so
	}
	for _, candidate := range candidates {
		if candidate.Unmap() == ip {
			return true
		}
	}
	return false
}
