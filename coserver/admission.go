package coserver

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/strand-net/strand/loop"
)

// admission is who is let in to a Server. It outlives a run, as handlers do that a Shutdown has not waited for.
type admission struct {
	mu        sync.Mutex
	conns     int // in the server, or about to be accepted
	perIP     map[netip.Addr]int
	full      bool // listeners rest for want of room
	listeners []*loop.Listener
}

// limits are what a run lets in, and lets begin. The zero value is everybody.
type limits struct {
	conns, perIP int
	overflow     Overflow
	rate         rate
	handshakes   int
}

// maxAcceptRate is one connection in ten microseconds: less than accepting one takes.
const maxAcceptRate = 100_000

// rate gives out so many turns a second, and a burst of them at once (the generic cell rate algorithm of ITU-T I.371). Protected by
// admission.mu.
type rate struct {
	interval int64 // between two turns, in nanoseconds; 0: there is no limit
	burst    int64 // how far ahead of the interval turns may be, in nanoseconds
	next     int64 // when the next turn would be, if all came evenly
}

func newRate(perSecond, burst int) rate {
	if perSecond == 0 {
		return rate{}
	}
	if burst == 0 {
		burst = perSecond
	}
	interval := (int64(time.Second) + int64(perSecond) - 1) / int64(perSecond) // rather a nanosecond too long
	return rate{interval: interval, burst: int64(burst-1) * interval}
}

// take takes a turn and returns 0, or returns how long to wait for it.
func (r *rate) take(now int64) (wait int64) {
	next := max(r.next, now)
	if next > now+r.burst {
		return next - now - r.burst
	}
	r.next = next + r.interval
	return 0
}

func (r *rate) giveBack() { r.next -= r.interval }

func (l *limits) any() bool { return l.conns > 0 || l.perIP > 0 || l.rate.interval > 0 }

// reserves reports whether room for a connection is taken before it is accepted.
func (l *limits) reserves() bool { return l.conns > 0 && l.overflow == Backlog }

// Reserve is for the loop: a run is the loop.Admission of its listeners.
func (r *run) Reserve() (rest int64) {
	l := &r.limits
	if !l.any() {
		return 0
	}
	s := r.server
	a := &s.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.reserves() && a.conns >= l.conns {
		if !a.full {
			s.counters.paused.maxConns.Add(1)
		}
		a.full = true
		return -1
	}
	if l.rate.interval > 0 {
		if rest := l.rate.take(r.engine.reactors[0].loop.Now()); rest > 0 {
			s.counters.paused.acceptRate.Add(1)
			return rest
		}
	}
	if l.reserves() {
		a.conns++
	}
	return 0
}

// Cancel is for the loop.
func (r *run) Cancel() {
	l := &r.limits
	if !l.any() {
		return
	}
	a := &r.server.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.rate.interval > 0 {
		l.rate.giveBack()
	}
	if l.reserves() {
		a.leave()
	}
}

// Admit is for the loop.
func (r *run) Admit(peer netip.AddrPort) bool {
	l := &r.limits
	if !l.any() {
		return true
	}
	counts := &r.server.counters.refused
	a := &r.server.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.conns > 0 && l.overflow == Refuse {
		if a.conns >= l.conns {
			counts.maxConns.Add(1)
			return false
		}
		a.conns++
	}
	if ip := l.counted(peer); ip.IsValid() {
		if a.perIP[ip] >= l.perIP {
			counts.maxConnsPerIP.Add(1)
			if l.conns > 0 {
				a.leave()
			}
			return false
		}
		if a.perIP == nil {
			a.perIP = make(map[netip.Addr]int)
		}
		a.perIP[ip]++
	}
	return true
}

// Dismiss is for the loop.
func (r *run) Dismiss(peer netip.AddrPort) {
	r.server.counters.refused.shutdown.Add(1)
	r.vacate(peer)
}

// vacate gives back the room of a connection that was admitted.
func (r *run) vacate(peer netip.AddrPort) {
	l := &r.limits
	if !l.any() {
		return
	}
	a := &r.server.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	if ip := l.counted(peer); ip.IsValid() {
		if a.perIP[ip]--; a.perIP[ip] == 0 {
			delete(a.perIP, ip)
		}
	}
	if l.conns > 0 {
		a.leave()
	}
}

// Starved is for the loop.
func (r *run) Starved() { r.server.counters.paused.descriptors.Add(1) }

// leave makes room for one. The caller must have mu.
func (a *admission) leave() {
	a.conns--
	if !a.full {
		return
	}
	a.full = false
	for _, ln := range a.listeners {
		ln.Resume()
	}
}

func (a *admission) add(ln *loop.Listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listeners = append(a.listeners, ln)
}

func (a *admission) remove(ln *loop.Listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listeners = slices.DeleteFunc(a.listeners, func(other *loop.Listener) bool { return other == ln })
	a.full = a.full && len(a.listeners) > 0
}

// counted returns under which address a peer is counted, or the zero Addr if it is not. With IPv6 that is its network of 64 bits,
// for who has one such address has them all (RFC 7421, RFC 6177); but not on a link, where all have the same one.
func (l *limits) counted(peer netip.AddrPort) netip.Addr {
	if l.perIP == 0 || !peer.IsValid() {
		return netip.Addr{}
	}
	ip := peer.Addr().Unmap()
	if ip.Is4() || ip.IsLinkLocalUnicast() {
		return ip
	}
	network, _ := ip.WithZone("").Prefix(64) // it fails for numbers that do not fit
	return network.Addr()
}
