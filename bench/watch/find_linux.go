package watch

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// FindListener returns the id of the process of this machine that listens on address: network is "tcp", "udp" or "unix". The error says
// whether nobody does, several processes do, or it cannot be seen who does. Only processes in this one's network namespace are found.
func FindListener(network, address string) (int, error) {
	pid, err := findListener("/proc", network, address)
	if err != nil {
		return 0, fmt.Errorf("watch: listener on %s %s: %w", network, address, err)
	}
	return pid, nil
}

func findListener(proc, network, address string) (int, error) {
	var sockets []socket
	var err error
	switch network {
	case "tcp", "udp":
		sockets, err = inetSockets(proc, network, address)
	case "unix":
		sockets, err = unixSockets(proc, address)
	default:
		return 0, fmt.Errorf("unknown network %q", network)
	}
	if err != nil {
		return 0, err
	}
	if len(sockets) == 0 {
		return 0, ErrNoListener
	}
	pids, refused, err := owners(proc, sockets)
	switch {
	case err != nil:
		return 0, err
	case len(pids) == 1:
		return pids[0], nil
	case len(pids) > 1:
		return 0, fmt.Errorf("processes %s have it: name one of them by its id", strings.Trim(fmt.Sprint(pids), "[]"))
	case refused:
		return 0, fmt.Errorf("it belongs to a process of user %s, whose descriptors this one may not see: name it by its id, or run this as that user or as root", sockets[0].uid)
	}
	return 0, errors.New("no process has the socket: it may be in another container")
}

// socket is one that listens.
type socket struct{ inode, uid string }

// inetSockets reads /proc/net/tcp and tcp6 (proc(5)): in the columns are a number, local address, remote address, state, queues, timer,
// retransmissions, user, timeout, inode.
func inetSockets(proc, network, address string) ([]socket, error) {
	state := "0A" // TCP_LISTEN
	if network == "udp" {
		state = "07" // as an unconnected one is shown
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := net.LookupPort(network, port)
	if err != nil {
		return nil, err
	}
	var wanted []netip.Addr
	if host != "" {
		ips, err := net.LookupIP(host)
		if err != nil {
			return nil, err
		}
		for _, ip := range ips {
			addr, _ := netip.AddrFromSlice(ip)
			wanted = append(wanted, addr.Unmap())
		}
	}
	var exact, wildcard []socket
	for _, name := range []string{network, network + "6"} {
		text, err := os.ReadFile(filepath.Join(proc, "net", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			columns := strings.Fields(line)
			if len(columns) < 10 || columns[3] != state {
				continue
			}
			local, ok := parseHexAddr(columns[1])
			if !ok || int(local.Port()) != number {
				continue
			}
			found := socket{inode: columns[9], uid: columns[7]}
			switch {
			case slices.Contains(wanted, local.Addr()):
				exact = append(exact, found)
			case len(wanted) == 0 || local.Addr().IsUnspecified() && slices.ContainsFunc(wanted, isLocal):
				wildcard = append(wildcard, found)
			}
		}
	}
	if len(exact) > 0 {
		return exact, nil // it is the one that gets the connections
	}
	return wildcard, nil
}

// isLocal reports whether connections to an address stay on this machine.
func isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true // nobody knows
	}
	return slices.ContainsFunc(own, func(addr net.Addr) bool {
		prefix, err := netip.ParsePrefix(addr.String())
		return err == nil && prefix.Addr().Unmap() == ip
	})
}

// parseHexAddr reads an address of /proc/net/tcp: each 4 bytes of it are in the order of the machine, the port is in that of numbers.
func parseHexAddr(text string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), ok && err == nil
}

// unixSockets reads /proc/net/unix (proc(5)): number, references, protocol, flags, type, state, inode, path. Flag 0x10000 marks one that
// listens.
func unixSockets(proc, path string) ([]socket, error) {
	text, err := os.ReadFile(filepath.Join(proc, "net/unix"))
	if err != nil {
		return nil, err
	}
	var found []socket
	for line := range strings.Lines(string(text)) {
		columns := strings.Fields(line)
		if len(columns) < 8 || columns[7] != path {
			continue
		}
		if flags, err := strconv.ParseUint(columns[3], 16, 64); err == nil && flags&0x10000 != 0 {
			found = append(found, socket{inode: columns[6], uid: "unknown"})
		}
	}
	return found, nil
}

// owners lists the processes that have one of the sockets open. refused says that the descriptors of some process may not be seen.
func owners(proc string, sockets []socket) (pids []int, refused bool, err error) {
	var links []string
	for _, s := range sockets {
		links = append(links, "socket:["+s.inode+"]")
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, false, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(proc, entry.Name(), "fd")
		names, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			refused = true
		}
		for _, name := range names {
			link, err := os.Readlink(filepath.Join(dir, name.Name()))
			if errors.Is(err, fs.ErrPermission) {
				refused = true
				break
			}
			if err == nil && slices.Contains(links, link) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids, refused, nil
}
