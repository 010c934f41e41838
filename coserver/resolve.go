package coserver

import (
	"context"
	"net"
	"net/netip"
	"strconv"
)

// resolve returns the addresses that an address of the user's stands for, at least one. Looking a name up may block and is
// done elsewhere; the caller waits for it.
func (a *dialing) resolve(ctx context.Context, address string) ([]net.Addr, error) {
	if a.network == "unix" {
		return []net.Addr{&net.UnixAddr{Net: "unix", Name: address}}, nil
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ip, ipErr := netip.ParseAddr(host)
	port, portErr := strconv.ParseUint(service, 10, 16)
	if (ipErr == nil || host == "") && portErr == nil {
		return a.suitable([]netip.Addr{ip}, int(port), host)
	}
	var ips []netip.Addr
	number := int(port)
	lookup := func() {
		if portErr != nil {
			number, err = a.resolver().LookupPort(ctx, a.network, service)
		}
		if err == nil && host != "" {
			ips, err = a.resolver().LookupNetIP(ctx, "ip"+a.network[len("tcp"):], host)
		} else {
			ips = []netip.Addr{ip}
		}
	}
	if offloadErr := Offload(lookup); offloadErr != nil {
		return nil, offloadErr
	}
	if err != nil {
		return nil, err
	}
	return a.suitable(ips, number, host)
}

func (a *dialing) resolver() *net.Resolver {
	if a.Resolver != nil {
		return a.Resolver
	}
	return net.DefaultResolver
}

// suitable picks the addresses that the network and the local address can reach. The zero IP stands for this machine, as an
// empty host and the unspecified addresses do.
func (a *dialing) suitable(ips []netip.Addr, port int, host string) ([]net.Addr, error) {
	var addrs []net.Addr
	for _, ip := range ips {
		if ip = a.reachable(ip.Unmap()); ip.IsValid() {
			addrs = append(addrs, net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(port))))
		}
	}
	if len(addrs) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	return addrs, nil
}

// reachable returns the address to use for ip, or the zero Addr.
func (a *dialing) reachable(ip netip.Addr) netip.Addr {
	family := a.family()
	if !ip.IsValid() || ip.IsUnspecified() {
		if family == '6' || family == 0 && ip.Is6() {
			return netip.IPv6Loopback()
		}
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if family == '4' && !ip.Is4() || family == '6' && !ip.Is6() {
		return netip.Addr{}
	}
	return ip
}

// family returns '4' or '6' if the network or the local address allows for no other, and otherwise 0.
func (a *dialing) family() byte {
	switch a.network {
	case "tcp4", "tcp6":
		return a.network[len("tcp")]
	}
	if local, ok := a.LocalAddr.(*net.TCPAddr); ok && local != nil {
		switch ip := local.AddrPort().Addr().Unmap(); {
		case ip.Is4():
			return '4'
		case ip.Is6() && !ip.IsUnspecified():
			return '6'
		}
	}
	return 0
}

// byFamily parts addresses into those of the family of the first, and the others.
func byFamily(addrs []net.Addr) (primaries, fallbacks []net.Addr) {
	first := isIPv4(addrs[0])
	for _, addr := range addrs {
		if isIPv4(addr) == first {
			primaries = append(primaries, addr)
		} else {
			fallbacks = append(fallbacks, addr)
		}
	}
	return primaries, fallbacks
}

func isIPv4(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.To4() != nil
}
