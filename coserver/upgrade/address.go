package upgrade

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// placeOf returns a function that reports whether a socket that is bound to addr is what Listen or ListenPacket of network and
// address would bind. It may ask a name server, and the function does not.
func placeOf(network, address string) func(addr net.Addr) bool {
	nowhere := func(net.Addr) bool { return false }
	if strings.HasPrefix(network, "unix") {
		return func(addr net.Addr) bool {
			at, ok := addr.(*net.UnixAddr)
			return ok && at.Net == network && at.Name == address && address != ""
		}
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nowhere // and net.Listen will say so, as for what follows
	}
	port, err := net.LookupPort(network, service)
	if err != nil {
		return nowhere
	}
	hosts, err := hostsOf(host)
	if err != nil {
		return nowhere
	}
	return func(addr net.Addr) bool {
		var at netip.AddrPort
		switch addr := addr.(type) {
		case *net.TCPAddr:
			if strings.HasPrefix(network, "tcp") {
				at = addr.AddrPort()
			}
		case *net.UDPAddr:
			if strings.HasPrefix(network, "udp") {
				at = addr.AddrPort()
			}
		}
		ip := at.Addr().Unmap()
		return ip.IsValid() && int(at.Port()) == port && isOfFamily(ip, network) && isAmong(ip, hosts)
	}
}

// hostsOf are the addresses that a host means.
func hostsOf(host string) ([]netip.Addr, error) {
	if host == "" {
		return []netip.Addr{netip.IPv6Unspecified()}, nil
	}
	if literal, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{literal}, nil
	}
	return net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
}

// isOfFamily reports whether ip is of the family that network names, if it names one.
func isOfFamily(ip netip.Addr, network string) bool {
	switch network[len(network)-1] {
	case '4':
		return ip.Is4()
	case '6':
		return ip.Is6()
	}
	return true
}

// isAmong reports whether ip is one of hosts. The addresses of no interface are one: package net binds both families for each of
// them, others may have bound one.
func isAmong(ip netip.Addr, hosts []netip.Addr) bool {
	return slices.ContainsFunc(hosts, func(host netip.Addr) bool {
		return host.Unmap() == ip || host.IsUnspecified() && ip.IsUnspecified()
	})
}
