package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// burst is how many connections may wait to be accepted at once: a generator that keeps to a rate needs no more.
const burst = 1024

// listening looks at the queues of a listener.
func (e *examination) listening() {
	if e.Side == Client {
		return
	}
	wanted := min(e.Conns, burst)
	for _, queue := range []struct {
		name, why string
		level     Level
	}{
		{"net.core.somaxconn", "no listener's queue of connections that wait to be accepted is longer: SYNs are dropped, and each costs its client a second", Bad},
		{"net.ipv4.tcp_max_syn_backlog", "more handshakes at the same time are answered with SYN cookies, or dropped", Note},
	} {
		n, ok := e.sysctl(queue.name, 1)
		if !ok {
			e.missing(queue.name)
			continue
		}
		e.add(Finding{Name: queue.name, Value: fmt.Sprint(n[0]), Wanted: fmt.Sprint(wanted), Level: when(n[0] < wanted, queue.level),
			Why: queue.why, Fix: setSysctl(queue.name, 4*burst) + ", and start the server again"})
	}
	if n, ok := e.sysctl("net.ipv4.tcp_migrate_req", 1); !ok {
		e.missing("net.ipv4.tcp_migrate_req")
	} else {
		e.add(Finding{Name: "net.ipv4.tcp_migrate_req", Value: fmt.Sprint(n[0]), Wanted: "1", Level: when(n[0] == 0, Note),
			Why: "when one of several SO_REUSEPORT listeners closes, the connections in its queue are lost",
			Fix: setSysctl("net.ipv4.tcp_migrate_req", 1)})
	}
}

// timeWait is how long a port stays taken after its connection has ended, in seconds.
const timeWait = 60

// ports looks at whether a client has enough of them: each connection from one address to one address and port needs its own.
func (e *examination) ports() {
	if e.Side == Server {
		return
	}
	name := "net.ipv4.ip_local_port_range"
	limits, ok := e.sysctl(name, 2)
	if !ok || limits[1] < limits[0] {
		e.missing(name)
		return
	}
	reserved, _ := e.text("proc/sys/net/ipv4/ip_local_reserved_ports")
	pairs := e.Sources * e.Destinations
	ports := countPorts(limits[0], limits[1], reserved)
	wanted := divideUp(e.Conns, pairs)
	const first, last = 1024, 65535
	widest := max(1, countPorts(first, last, reserved))
	f := Finding{Name: name, Value: fmt.Sprintf("%d %d (%d ports)", limits[0], limits[1], ports), Wanted: fmt.Sprintf("%d ports", wanted),
		Level: when(ports < wanted, Bad),
		Why:   fmt.Sprintf("%d connections from %d source to %d destination addresses need %d ports of each pair", e.Conns, e.Sources, e.Destinations, wanted)}
	if wanted <= widest {
		f.Fix = setSysctl(name, first, last)
	}
	if sources := divideUp(e.Conns, max(1, ports)*e.Destinations); f.Fix == "" {
		f.Fix = fmt.Sprintf("connect from %d source addresses, or to as many ports", sources)
	} else {
		f.Fix += fmt.Sprintf("; or connect from %d source addresses, or to as many ports", sources)
	}
	e.add(f)
	name = "net.ipv4.tcp_tw_reuse"
	reuse, ok := e.sysctl(name, 1)
	if !ok {
		e.missing(name)
		return
	}
	where := map[int]string{0: "never", 1: "everywhere", 2: "on loopback"}[reuse[0]]
	e.add(Finding{Name: name, Value: fmt.Sprintf("%d (%s)", reuse[0], where), Level: when(reuse[0] == 0, Note),
		Why: fmt.Sprintf("a port is taken for %d s after a connection that the client has closed: %d new ones a second at most", timeWait, ports*pairs/timeWait),
		Fix: setSysctl(name, 1)})
}

// countPorts counts those from first to last that are not reserved, of a list such as "8080,9000-9010".
func countPorts(first, last int, reserved string) int {
	taken := make([]bool, last+1)
	for part := range strings.SplitSeq(reserved, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err1 := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil {
			continue
		}
		for port := max(low, first); port <= min(high, last); port++ {
			taken[port] = true
		}
	}
	n := 0
	for _, is := range taken[first:] {
		if !is {
			n++
		}
	}
	return n
}

// conntrack looks at the table of connections that a firewall keeps, if there is one.
func (e *examination) conntrack() {
	most, ok := e.sysctl("net.netfilter.nf_conntrack_max", 1)
	if !ok {
		return // connections are not tracked
	}
	used := 0
	if n, ok := e.sysctl("net.netfilter.nf_conntrack_count", 1); ok {
		used = n[0]
	}
	need := used + e.Conns
	e.add(Finding{Name: "net.netfilter.nf_conntrack_max", Value: fmt.Sprint(most[0]), Wanted: fmt.Sprint(need), Level: when(most[0] < need, Bad),
		Why: fmt.Sprintf("packets of connections that have no room in the firewall's table are dropped; it has %d now", used),
		Fix: setSysctl("net.netfilter.nf_conntrack_max", need+need/4)})
}

// network looks at what has been dropped between the network card, or loopback, and TCP since the machine was started.
func (e *examination) network() {
	name := "net.core.netdev_max_backlog"
	n, ok := e.sysctl(name, 1)
	if !ok {
		e.missing(name)
		return
	}
	text, _ := e.text("proc/net/softnet_stat")
	var dropped uint64
	for line := range strings.Lines(text) {
		if columns := strings.Fields(line); len(columns) > 1 { // packets, dropped, ..., of a processor
			lost, _ := strconv.ParseUint(columns[1], 16, 64)
			dropped += lost
		}
	}
	e.add(Finding{Name: name, Value: fmt.Sprint(n[0]), Level: when(dropped > 0, Note),
		Why: fmt.Sprintf("%d packets have been dropped since the machine was started, because the queue before TCP was full", dropped),
		Fix: setSysctl(name, slices.Max([]int{10000, 2 * n[0]}))})
}
