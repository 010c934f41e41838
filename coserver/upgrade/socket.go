package upgrade

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
)

// inherited is a descriptor that was passed to this process. It is of neither kind if package net has no use for it.
type inherited struct {
	label
	listener   net.Listener
	packetConn net.PacketConn
	claimed    bool
}

func (i *inherited) isSocket() bool { return i.listener != nil || i.packetConn != nil }

func (i *inherited) addr() net.Addr {
	if i.listener != nil {
		return i.listener.Addr()
	}
	return i.packetConn.LocalAddr()
}

// close closes what nobody has claimed.
func (i *inherited) close() {
	if i.claimed {
		return
	}
	if i.listener != nil {
		i.listener.Close() // of an inherited descriptor: leaves its path alone
	}
	if i.packetConn != nil {
		i.packetConn.Close()
	}
}

func closeInherited(all []inherited) {
	for i := range all {
		all[i].close()
	}
}

// removeUnclaimed removes the files of those that nobody has claimed.
func removeUnclaimed(all []inherited) {
	for i := range all {
		if i := &all[i]; i.isSocket() && !i.claimed {
			removeFile(i.addr().String(), i.file)
		}
	}
}

// conn is what package net's listeners and packet connections have in common.
type conn interface {
	syscall.Conn
	io.Closer
}

// socket is one that the next process gets: the part of a listener or packet connection of Listen that knows of the Upgrader.
type socket struct {
	label
	upgrader *Upgrader
	conn     conn

	closed bool // protected by upgrader.mu, as is label.file: it is not ours any more when it is another process's
}

// close ends the socket by closeConn. A file that is ours goes with it, unless a process that is being started has the
// socket too: then it is that one's if it becomes ready.
func (s *socket) close(closeConn func() error) error {
	u := s.upgrader
	u.mu.Lock()
	defer u.mu.Unlock()
	if !s.closed {
		s.closed = true
		u.sockets = slices.DeleteFunc(u.sockets, func(other *socket) bool { return other == s })
		if !u.isOffered(s) {
			s.removeFile()
		}
	}
	return closeConn()
}

// closeSockets closes all that Listen and ListenPacket have returned.
func (u *Upgrader) closeSockets() {
	u.mu.Lock()
	all := slices.Clone(u.sockets)
	u.mu.Unlock()
	for _, s := range all {
		_ = s.close(s.conn.Close) // by somebody else meanwhile, perhaps
	}
}

// removeFile comes before the descriptor is closed: until then the kernel holds on to the file, and nobody else's can be taken for it.
func (s *socket) removeFile() {
	if ln, ok := s.conn.(*net.UnixListener); ok {
		removeFile(ln.Addr().String(), s.file)
	}
}

// removeFile removes a file, if it is still that one.
func removeFile(path, file string) {
	if file != "" && fileAt(path) == file {
		_ = os.Remove(path)
	}
}

// The listeners and connections that the methods of Upgrader return are those of package net but for what closes them.

type tcpListener struct {
	*net.TCPListener
	socket *socket
}

func (l *tcpListener) Close() error { return l.socket.close(l.TCPListener.Close) }

type unixListener struct {
	*net.UnixListener
	socket *socket
}

func (l *unixListener) Close() error { return l.socket.close(l.UnixListener.Close) }

// SetUnlinkOnClose says whether the file is removed when the listener is closed for good. Without it that is so if Listen, of
// this process or of one before it, has made the file.
func (l *unixListener) SetUnlinkOnClose(unlink bool) {
	l.socket.upgrader.mu.Lock()
	defer l.socket.upgrader.mu.Unlock()
	l.socket.file = ""
	if name := l.UnixListener.Addr().String(); unlink && isPath(name) {
		l.socket.file = fileAt(name)
	}
}

type udpConn struct {
	*net.UDPConn
	socket *socket
}

func (c *udpConn) Close() error { return c.socket.close(c.UDPConn.Close) }

type unixConn struct {
	*net.UnixConn
	socket *socket
}

func (c *unixConn) Close() error { return c.socket.close(c.UnixConn.Close) }

// isPath tells a path from an abstract name (unix(7)) and from none.
func isPath(name string) bool { return name != "" && name[0] != '@' }

// listener wraps ln as one that is passed on. u.mu must be held.
func (u *Upgrader) listener(ln net.Listener, l label) (net.Listener, error) {
	switch ln := ln.(type) {
	case *net.TCPListener:
		return &tcpListener{ln, u.add(ln, l)}, nil
	case *net.UnixListener:
		ln.SetUnlinkOnClose(false) // from now on the socket does it
		return &unixListener{ln, u.add(ln, l)}, nil
	}
	ln.Close()
	return nil, fmt.Errorf("upgrade: a %T cannot be passed on", ln)
}

// packetConn is listener for a packet connection. Package net removes no file of one, so neither does this.
func (u *Upgrader) packetConn(conn net.PacketConn, l label) (net.PacketConn, error) {
	switch conn := conn.(type) {
	case *net.UDPConn:
		return &udpConn{conn, u.add(conn, l)}, nil
	case *net.UnixConn:
		return &unixConn{conn, u.add(conn, l)}, nil
	}
	conn.Close()
	return nil, fmt.Errorf("upgrade: a %T cannot be passed on", conn)
}

func (u *Upgrader) add(c conn, l label) *socket {
	s := &socket{label: l, upgrader: u, conn: c}
	u.sockets = append(u.sockets, s)
	return s
}
