package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxSources bounds how many addresses of prefixes are used.
const maxSources = 1 << 16

// splitPorts takes HOST:PORTS apart. Ports are numbers and ranges, with commas between them, or one name of a service.
func splitPorts(addr string) (host string, ports []string, err error) {
	host, list, err := net.SplitHostPort(addr)
	if err != nil {
		return "", nil, err
	}
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		from, err := strconv.ParseUint(low, 10, 16)
		if !isRange || err != nil { // a name may have a hyphen, too
			ports = append(ports, part)
			continue
		}
		to, err := strconv.ParseUint(high, 10, 16)
		if err != nil || to < from {
			return "", nil, fmt.Errorf("address %s: %s is no range of ports", addr, part)
		}
		for port := from; port <= to; port++ {
			ports = append(ports, strconv.FormatUint(port, 10))
		}
	}
	return host, ports, nil
}

// Addresses are those that Addr stands for: HOST:PORT each, or the path of a unix socket.
func (o Options) Addresses() ([]string, error) {
	if o.Network == "unix" {
		return []string{o.Addr}, nil
	}
	host, ports, err := splitPorts(o.Addr)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, port := range ports {
		all = append(all, net.JoinHostPort(host, port))
	}
	return all, nil
}

// resolve finds the addresses that connections go to in turn.
func resolve(ctx context.Context, network, address string) ([]net.Addr, error) {
	if network == "unix" {
		addr, err := net.ResolveUnixAddr(network, address)
		return []net.Addr{addr}, err
	}
	host, ports, err := splitPorts(address)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, port := range ports {
		number, err := net.DefaultResolver.LookupPort(ctx, network, port)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, number)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	ip := ips[0].Unmap()
	var remotes []net.Addr
	for _, number := range numbers {
		addr := netip.AddrPortFrom(ip, uint16(number))
		if network == "udp" {
			remotes = append(remotes, net.UDPAddrFromAddrPort(addr))
		} else {
			remotes = append(remotes, net.TCPAddrFromAddrPort(addr))
		}
	}
	return remotes, nil
}

// parseSources reads addresses and prefixes. The first and the last address of a prefix of IPv4 are those of the net and of all in it, so they
// are left out, unless there are no others.
func parseSources(texts []string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, text := range texts {
		if !strings.Contains(text, "/") {
			ip, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%q is no address", text)
			}
			all = append(all, ip)
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no prefix", text)
		}
		ip := prefix.Masked().Addr()
		ends := ip.Is4() && prefix.Bits() < 31
		if ends {
			ip = ip.Next()
		}
		for ; prefix.Contains(ip) && len(all) < maxSources; ip = ip.Next() {
			if ends && !prefix.Contains(ip.Next()) {
				break
			}
			all = append(all, ip)
		}
	}
	for _, ip := range all {
		if ip.Is4() != all[0].Is4() {
			return nil, errors.New("addresses of IPv4 and IPv6 do not go together")
		}
	}
	return all, nil
}

// portsOfSource is how many connections one source may have to one address: the usual range of ports has 28,232 (ip(7), ip_local_port_range), and some
// are taken.
const portsOfSource = 20000

// sources are the addresses that connections of all shards come from in turn; none leaves it to the kernel.
func sources(o *Options, remotes []net.Addr) ([]netip.Addr, error) {
	all, err := parseSources(o.Sources)
	if err != nil {
		return nil, err
	}
	remote := ipOf(remotes[0])
	if !remote.IsValid() {
		return nil, nil
	}
	if len(all) > 0 {
		if all[0].Is4() != remote.Is4() {
			return nil, fmt.Errorf("%v cannot connect to %v", all[0], remote)
		}
		return all, nil
	}
	if need := (o.Conns/len(remotes) + portsOfSource - 1) / portsOfSource; need > 1 && remote.Is4() && remote.IsLoopback() {
		ip := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		for range need {
			all = append(all, ip)
			ip = ip.Next()
		}
	}
	return all, nil
}

// ipOf is the IP address of a server, with its zone; the zero Addr if it has none.
func ipOf(remote net.Addr) netip.Addr {
	switch remote := remote.(type) {
	case *net.TCPAddr:
		return remote.AddrPort().Addr().Unmap()
	case *net.UDPAddr:
		return remote.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// remoteOf and sourceOf say where connection c goes to and comes from. The source is the zero Addr if the kernel chooses it.
func (w *worker) remoteOf(c *conn) net.Addr { return w.remotes[int(c.id)%len(w.remotes)] }

func (w *worker) sourceOf(c *conn) netip.Addr {
	if len(w.sources) == 0 {
		return netip.Addr{}
	}
	return w.sources[int(c.id)/len(w.remotes)%len(w.sources)]
}
