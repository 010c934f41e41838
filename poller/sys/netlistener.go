package sys

import (
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// netSocket is a listener of package net, and the goroutine that accepts for its parts: one, or those that share it. It takes one
// connection for each part and no more; the others wait in the operating system's backlog.
type netSocket struct {
	listener net.Listener
	borrowed bool   // somebody else closes it
	left     func() // called when the last part has gone; nil: nothing

	mu      sync.Mutex
	changed sync.Cond // of mu; a part wants a connection, or closes
	parts   []*netListener
	next    int // whose turn it is
	running bool
	closed  bool
}

// netListener is one descriptor that accepts.
type netListener struct {
	socket *netSocket

	// Protected by the socket's mu.
	watcher Watcher
	wants   bool          // a connection is welcome
	held    *netConn      // the one that has come, and is being read
	errno   syscall.Errno // why none came, until one does
	closed  bool
}

// join reports false if the socket has been closed.
func (s *netSocket) join(ln *netListener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed.L == nil {
		s.changed.L = &s.mu
	}
	if s.closed {
		return false
	}
	s.parts = append(s.parts, ln)
	return true
}

// want makes the socket accept for ln. The caller has mu.
func (s *netSocket) want(ln *netListener) {
	ln.wants = true
	if !s.running {
		s.running = true
		go unlabelled(s.run)
	}
	s.changed.Signal()
}

// run accepts while the socket is open.
func (s *netSocket) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !s.closed && !slices.ContainsFunc(s.parts, func(ln *netListener) bool { return ln.wants }) {
			s.changed.Wait()
		}
		if s.closed {
			return
		}
		s.mu.Unlock()
		conn, err := s.listener.Accept()
		s.mu.Lock()
		switch {
		case err == nil:
			s.deliver(conn)
		case !s.closed:
			s.fail(errnoFrom(err))
		}
	}
}

// deliver gives a connection to the next part that wants one.
func (s *netSocket) deliver(conn net.Conn) {
	for range s.parts {
		s.next = (s.next + 1) % len(s.parts)
		if ln := s.parts[s.next]; ln.wants {
			ln.wants, ln.errno, ln.held = false, 0, newNetConn(conn)
			ln.held.start()
			ln.ready()
			return
		}
	}
	reset(conn) // who wanted it is closed
}

// fail tells each part that wants a connection why there is none. It has to ask again.
func (s *netSocket) fail(errno syscall.Errno) {
	for _, ln := range s.parts {
		if !ln.wants {
			continue
		}
		ln.wants = false
		known := ln.errno != 0
		ln.errno = errno
		if !known { // or whoever tries again would be told at once that this has failed too, and so on
			ln.ready()
		}
	}
}

func (ln *netListener) ready() {
	if ln.watcher != nil {
		ln.watcher.Ready(Readable)
	}
}

func (ln *netListener) watch(w Watcher) {
	ln.socket.mu.Lock()
	defer ln.socket.mu.Unlock()
	ln.watcher = w
	switch {
	case w == nil || ln.closed:
	case ln.held != nil || ln.errno != 0:
		ln.ready()
	default:
		ln.socket.want(ln)
	}
}

// accept returns the connection that has come, and lets the next one come.
func (ln *netListener) accept() (*netConn, syscall.Errno) {
	ln.socket.mu.Lock()
	defer ln.socket.mu.Unlock()
	if ln.closed {
		return nil, syscall.EBADF
	}
	conn := ln.held
	ln.held = nil
	ln.socket.want(ln)
	switch {
	case conn != nil:
		return conn, 0
	case ln.errno != 0:
		return nil, ln.errno
	}
	return nil, syscall.EAGAIN
}

// close resets the connection that has come and that nobody has accepted, as an operating system does.
func (ln *netListener) close() {
	s := ln.socket
	s.mu.Lock()
	ln.closed, ln.wants, ln.watcher = true, false, nil
	held := ln.held
	ln.held = nil
	s.parts = slices.DeleteFunc(s.parts, func(other *netListener) bool { return other == ln })
	last := len(s.parts) == 0
	if last {
		s.closed = true
		s.changed.Signal()
	}
	s.mu.Unlock()
	if held != nil {
		held.refuse()
	}
	if last {
		s.end()
	}
}

// end closes the listener. An Accept in progress fails.
func (s *netSocket) end() {
	if s.left != nil {
		s.left()
	}
	if !s.borrowed {
		s.listener.Close()
		return
	}
	if listener, ok := s.listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = listener.SetDeadline(time.Unix(1, 0)) // which fails if it has been closed, and then there is no Accept either
	}
}

// reset closes a connection so that the peer knows that it was not served.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

func (ln *netListener) localAddr() net.Addr { return ln.socket.listener.Addr() }

func (ln *netListener) raw() any { return ln.socket.listener }
