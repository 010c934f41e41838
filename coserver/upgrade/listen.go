package upgrade

import (
	"fmt"
	"net"

	"github.com/strand-net/strand/poller/sys"
)

// Listen returns the inherited listener that was asked for by the same network and address, or that is bound to them; if there
// is none, it binds one as net.Listen does, with its errors; but the file of a unix socket that a process of the same user has left
// behind is replaced, and no other. It is a *net.TCPListener or *net.UnixListener in a wrapper that has
// all of its methods: coserver.Server.Serve takes it over, and net/http serves it. It is passed to the next process, in
// which the same call returns it, until it is closed.
//
// The file of a unix socket that Listen has made is removed when the listener is closed, unless another process has taken it
// over by then. One that was inherited from anybody else stays, and so does whatever has taken its place.
//
// network is "tcp", "tcp4", "tcp6", "unix" or "unixpacket". Safe from any goroutine. While an Upgrade is under way it fails
// with ErrInProgress, and once Exit is closed with the error of Err.
func (u *Upgrader) Listen(network, address string) (net.Listener, error) {
	i, err := u.claim(func(i *inherited) bool { return i.listener != nil }, network, address)
	if err != nil {
		return nil, err
	}
	if i != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.listener(i.listener, i.label)
	}
	ln, err := sys.Listen(new(net.ListenConfig), network, address)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.mayListen(); err != nil {
		ln.Close()
		return nil, err
	}
	l := label{network: network, address: address}
	if addr, ok := ln.Addr().(*net.UnixAddr); ok && isPath(addr.Name) {
		l.file = fileAt(addr.Name)
	}
	return u.listener(ln, l)
}

// ListenPacket is Listen for net.ListenPacket: network is "udp", "udp4", "udp6" or "unixgram". Both processes read from
// a socket that has been passed on: the old one should stop to, when Exit is closed.
func (u *Upgrader) ListenPacket(network, address string) (net.PacketConn, error) {
	i, err := u.claim(func(i *inherited) bool { return i.packetConn != nil }, network, address)
	if err != nil {
		return nil, err
	}
	if i != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.packetConn(i.packetConn, i.label)
	}
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.mayListen(); err != nil {
		conn.Close()
		return nil, err
	}
	return u.packetConn(conn, label{network: network, address: address})
}

// ListenName returns the first inherited listener of a name that nobody has claimed: what systemd calls
// FileDescriptorName. The name stays with it in the next process. It fails if there is none. Safe from any goroutine.
func (u *Upgrader) ListenName(name string) (net.Listener, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := u.find(func(i *inherited) bool { return i.listener != nil && i.name == name })
	if i == nil {
		return nil, fmt.Errorf("upgrade: no listener called %q was inherited", name)
	}
	i.claimed = true
	return u.listener(i.listener, i.label)
}

// Inherited is a socket that was passed to this process.
type Inherited struct {
	Name string   // of LISTEN_FDNAMES, if it came from somebody who gives names
	Addr net.Addr // a *net.TCPAddr, *net.UnixAddr or *net.UDPAddr
}

// Inherited returns the sockets that were passed to this process and that nobody has claimed by Listen, ListenPacket or
// ListenName. After Ready there is none. Safe from any goroutine.
func (u *Upgrader) Inherited() []Inherited {
	u.mu.Lock()
	defer u.mu.Unlock()
	var left []Inherited
	for n := range u.inherited {
		if i := &u.inherited[n]; i.isSocket() && !i.claimed {
			left = append(left, Inherited{i.name, i.addr()})
		}
	}
	return left
}

// claim finds the inherited socket for network and address, or nil. What was asked for by the same words comes first: so port 0
// finds its port again.
func (u *Upgrader) claim(isKind func(*inherited) bool, network, address string) (*inherited, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.mayListen(); err != nil {
		return nil, err
	}
	i := u.find(func(i *inherited) bool { return isKind(i) && i.network == network && i.address == address })
	if i == nil && u.find(isKind) != nil {
		u.mu.Unlock()
		isThere := placeOf(network, address) // may ask a name server
		u.mu.Lock()
		if err := u.mayListen(); err != nil {
			return nil, err
		}
		i = u.find(func(i *inherited) bool { return isKind(i) && isThere(i.addr()) })
	}
	if i != nil {
		i.claimed = true
		i.network, i.address = network, address
	}
	return i, nil
}

// find returns the first inherited socket that nobody has claimed and that is what is looked for, or nil. u.mu must be held.
func (u *Upgrader) find(is func(*inherited) bool) *inherited {
	for n := range u.inherited {
		if i := &u.inherited[n]; i.isSocket() && !i.claimed && is(i) {
			return i
		}
	}
	return nil
}

// mayListen reports why there can be no new socket now. u.mu must be held.
func (u *Upgrader) mayListen() error {
	if u.abort != nil {
		return ErrInProgress
	}
	return u.err
}
