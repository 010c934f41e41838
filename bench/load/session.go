package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// session is TLS on one connection. Package crypto/tls runs over the non-blocking socket itself, on the worker's goroutine: it may be asked
// again after an error that is temporary. Only its handshake may not, so that is a coroutine, which gives way where it would block.
type session struct {
	wire
	tls  *tls.Conn
	owed int   // bytes of plain text in the record that is being sent
	err  error // that has ended it, and is no system call's

	next    func() (struct{}, bool) // goes on with the handshake
	stop    func()                  // gives it up
	outcome error                   // of the handshake
}

// wire is the side of a session that the network is on, as crypto/tls wants to see it.
type wire struct {
	kernel  sys.Kernel
	fd      int
	unsent  []byte // of records that the socket has not taken whole
	drained bool   // the socket was seen empty: another event comes when it is not
	ended   bool   // no other event need come: it is to be read to its end
	shut    bool   // the sending side is shut down once all is sent

	giveWay func(struct{}) bool // in a handshake; false says that it is given up
}

// largestRecord is how much plain text one record has at most (RFC 8446, 5.1). A peer can make nothing of a part of a record, so what is sent
// in one is sent as a whole or not yet.
const largestRecord = 16 << 10

// wouldBlock is the error of a Read that finds nothing. For crypto/tls it must be a net.Error that is temporary.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "would block" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// Read implements net.Conn.
func (x *wire) Read(p []byte) (int, error) {
	for {
		if x.giveWay != nil { // later whoever sends must know what has been
			if errno := x.flush(); errno != 0 && errno != syscall.EAGAIN {
				return 0, os.NewSyscallError("send", errno)
			}
		}
		n, errno := 0, syscall.EAGAIN
		if !x.drained {
			n, errno = x.kernel.Recv(x.fd, p)
		}
		x.drained = false
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN && x.giveWay == nil:
			return 0, wouldBlock{}
		case errno == syscall.EAGAIN:
			if !x.giveWay(struct{}{}) {
				return 0, net.ErrClosed
			}
			continue
		case errno != 0:
			return 0, os.NewSyscallError("recv", errno)
		case n == 0:
			return 0, io.EOF
		}
		x.drained = n < len(p) && !x.ended
		return n, nil
	}
}

// Write implements net.Conn. What the socket does not take is kept.
func (x *wire) Write(p []byte) (int, error) {
	if len(x.unsent) > 0 {
		x.unsent = append(x.unsent, p...)
		return len(p), nil
	}
	n, errno := x.sendSome(p)
	if errno != 0 && errno != syscall.EAGAIN {
		return 0, os.NewSyscallError("send", errno)
	}
	x.unsent = append(x.unsent, p[n:]...)
	return len(p), nil
}

// flush sends what is left; EAGAIN says that there still is something.
func (x *wire) flush() syscall.Errno {
	if len(x.unsent) > 0 {
		n, errno := x.sendSome(x.unsent)
		x.unsent = x.unsent[:copy(x.unsent, x.unsent[n:])]
		if errno != 0 {
			return errno
		}
	}
	if !x.shut {
		return 0
	}
	x.shut = false
	return x.kernel.Shutdown(x.fd, sys.ShutWrite)
}

// sendSome sends until all is sent, or there is an error.
func (x *wire) sendSome(p []byte) (sent int, errno syscall.Errno) {
	for sent < len(p) {
		n, errno := x.kernel.Send(x.fd, p[sent:])
		if errno != 0 && errno != syscall.EINTR {
			return sent, errno
		}
		if errno == 0 {
			sent += n
		}
	}
	return sent, 0
}

// Close implements net.Conn. The socket is the worker's.
func (*wire) Close() error { return nil }

// LocalAddr implements net.Conn.
func (*wire) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn.
func (*wire) RemoteAddr() net.Addr { return nil }

// SetDeadline implements net.Conn. Nothing here waits.
func (*wire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (*wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (*wire) SetWriteDeadline(time.Time) error { return nil }

// newSession is one whose handshake has yet to begin.
func newSession(kernel sys.Kernel, fd int, config *tls.Config) *session {
	s := &session{wire: wire{kernel: kernel, fd: fd}}
	s.tls = tls.Client(&s.wire, config)
	s.next, s.stop = iter.Pull(func(yield func(struct{}) bool) {
		s.giveWay = yield
		s.outcome = s.tls.HandshakeContext(context.Background())
		s.giveWay = nil
	})
	return s
}

// send sends of data what one record holds. After EAGAIN it is to be called with the same bytes again, and maybe more: 0 is not an answer then
// that they were not taken, but that the peer can have read nothing of them yet.
func (s *session) send(data []byte) (int, syscall.Errno) {
	if errno := s.flush(); errno != 0 {
		return 0, errno
	}
	if s.owed == 0 {
		data = data[:min(len(data), largestRecord)]
		if _, err := s.tls.Write(data); err != nil {
			return 0, s.errno(err)
		}
		s.owed = len(data)
		if errno := s.flush(); errno != 0 {
			return 0, errno
		}
	}
	n := s.owed
	s.owed = 0
	return n, 0
}

// recv is that of a socket: 0 bytes are the end of the stream.
func (s *session) recv(p []byte) (int, syscall.Errno) {
	n, err := s.tls.Read(p)
	switch {
	case n > 0: // an error is told again
		return n, 0
	case err == io.EOF:
		return 0, 0
	}
	return 0, s.errno(err)
}

// errno is err as a system call's. EPROTO says that TLS itself has failed, which is in s.err.
func (s *session) errno(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case errors.Is(err, wouldBlock{}):
		return syscall.EAGAIN
	case errors.As(err, &errno):
		return errno
	}
	s.err = err
	return syscall.EPROTO
}

// handshakeError is why TLS could not begin.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "tls: handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// beginTLS has connection c, which is connected, shake hands.
func (w *worker) beginTLS(c *conn) {
	c.tls = newSession(w.kernel, c.fd, w.security)
	c.state = stateSecuring
}

// shakeHands goes on with the handshake of connection c until it would block; done says that there is nothing more to wait for. The error is what
// is wrong with the connection.
func (w *worker) shakeHands(c *conn) (done bool, err error) {
	s := c.tls
	if s == nil {
		return true, nil
	}
	if _, more := s.next(); more {
		return false, nil
	}
	s.drained = false // an event may have come that nobody has looked at
	s.ended = c.role == roleSlow
	if s.outcome != nil {
		return false, &handshakeError{s.outcome}
	}
	if len(w.security.NextProtos) > 0 && s.tls.ConnectionState().NegotiatedProtocol == "" {
		return false, &handshakeError{fmt.Errorf("the server has chosen none of the application protocols %v", w.security.NextProtos)}
	}
	return true, nil
}

// prepareTLS takes up an event on connection c, before what it tells of is read.
func (w *worker) prepareTLS(c *conn, ready poller.Readiness) error {
	c.tls.drained = false
	c.tls.ended = c.tls.ended || c.ended
	if ready&poller.Writable == 0 || c.tls.owed > 0 { // push goes on with a message, and counts it before an answer can be read
		return nil
	}
	if errno := c.tls.flush(); errno != 0 && errno != syscall.EAGAIN {
		return w.broken(c, "send", errno)
	}
	return nil
}

// send sends as much of data as the socket takes. After EAGAIN it is to be called with the same bytes again.
func (w *worker) send(c *conn, data []byte) (int, syscall.Errno) {
	if c.tls != nil {
		return c.tls.send(data)
	}
	return w.kernel.Send(c.fd, data)
}

// recv reads what has come.
func (w *worker) recv(c *conn, p []byte) (int, syscall.Errno) {
	if c.tls != nil {
		return c.tls.recv(p)
	}
	return w.kernel.Recv(c.fd, p)
}

// broken gives connection c up after an error of send or recv.
func (w *worker) broken(c *conn, call string, errno syscall.Errno) error {
	kind := errno.Error()
	if c.tls != nil && c.tls.err != nil {
		kind = kindTLS
	}
	return w.fail(c, kind, c.callError(call, errno))
}

// callError is the error of send or recv in words.
func (c *conn) callError(call string, errno syscall.Errno) error {
	if c.tls != nil && c.tls.err != nil {
		return fmt.Errorf("tls: %w", c.tls.err)
	}
	return os.NewSyscallError(call, errno)
}

// endSending says to the server that no more comes, TLS's way and TCP's.
func (w *worker) endSending(c *conn) error {
	if c.tls == nil {
		if errno := w.kernel.Shutdown(c.fd, sys.ShutWrite); errno != 0 {
			return w.broken(c, "shutdown", errno)
		}
		return nil
	}
	err := c.tls.tls.CloseWrite()
	if err == nil {
		c.tls.shut = true
		if errno := c.tls.flush(); errno != 0 && errno != syscall.EAGAIN {
			return w.broken(c, "shutdown", errno)
		}
		return nil
	}
	return w.broken(c, "send", c.tls.errno(err))
}

// closeSocket closes connection c, which may have none. A server that speaks TLS is told, if the socket takes that at once.
func (w *worker) closeSocket(c *conn) {
	if c.fd < 0 {
		return
	}
	if s := c.tls; s != nil {
		s.stop()
		if s.outcome == nil && len(s.unsent) == 0 {
			_ = s.tls.CloseWrite() // it fails if there was no handshake
		}
		c.tls = nil
	}
	if !native(w.kernel) { // Linux's poller forgets a descriptor that is closed
		_ = w.poller.Remove(c.fd) // it fails for one that it does not know
	}
	w.kernel.Close(c.fd)
}
