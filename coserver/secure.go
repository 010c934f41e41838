package coserver

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/strand-net/strand/loop"
)

// secure is the TLS of a connection: crypto/tls between the Conn's calls and its socket.
//
// crypto/tls holds mutexes while it reads and writes, and a task that waited for one of them would hold up its loop. So after
// the handshake nothing inside it ever waits: the wire below answers a read with errNoInput when the socket has nothing, which
// crypto/tls lets pass and can go on after, and keeps what is written in memory. The waiting is done out here, by the
// Conn's own turns.
type secure struct {
	conn *tls.Conn
	wire wire
}

func newSecure(c *Conn, config *tls.Config) *secure {
	s := &secure{wire: wire{conn: c, handshaking: true}}
	if c.isDialled() {
		s.conn = tls.Client(&s.wire, config)
	} else {
		s.conn = tls.Server(&s.wire, config)
	}
	return s
}

// handshake needs the turns of both sides.
func (s *secure) handshake(c *Conn) error {
	s.wire.early = append([]byte(nil), c.input.unread...)
	c.input.set(nil)
	defer s.wire.end()
	return s.conn.Handshake()
}

// receive reads into p what has come. The caller must have the turn of the read side.
func (s *secure) receive(p []byte, known bool) (int, error) {
	w := &s.wire
	w.known = known
	n, err := s.conn.Read(p)
	if w.known { // it had a record left, and did not ask the socket
		w.known = false
		w.conn.sock.Reopen(loop.ReadSide)
	}
	if w.pending() { // an alert, or the answer to a key update (RFC 8446, 4.6.3)
		w.conn.pokeQueue() // a failure is the next write's to report
	}
	switch {
	case n > 0:
		return n, nil // what else it has to say, it says again: it tells an end that it sees coming along with the last data
	case err == errNoInput:
		return 0, loop.ErrNotReady
	}
	return 0, err
}

// chunk is how much is encrypted at a time: the most that one record holds (RFC 8446, 5.1).
const chunk = 16 << 10

// send encrypts and sends p, waiting if need be. What has been encrypted counts as sent: if the deadline comes first, it goes
// out with the next write. The caller must have the turn of the write side.
func (s *secure) send(c *Conn, p []byte) (int, error) {
	for sent := 0; ; {
		if err := s.wire.flush(); err != nil {
			return sent, err
		}
		if sent == len(p) {
			return sent, nil
		}
		n, err := s.conn.Write(p[sent:min(len(p), sent+chunk)])
		sent += n
		if err != nil {
			return sent, err
		}
	}
}

// sendNow sends what has been encrypted before, and then, if there is room for it, of bufs as much as one record holds. It does not
// wait: it returns how much it has encrypted, and fails with loop.ErrNotReady if there is something left to send. The caller must have
// the turn of the write side.
func (s *secure) sendNow(bufs [][]byte) (int, error) {
	if err := s.wire.sendNow(); err != nil || len(bufs) == 0 {
		return 0, err
	}
	record := gatherBuffers.Get().(*[gatherSize]byte)
	defer gatherBuffers.Put(record)
	n := 0
	for _, buf := range bufs {
		n += copy(record[n:chunk], buf)
	}
	if _, err := s.conn.Write(record[:n]); err != nil {
		return 0, err
	}
	return n, s.wire.sendNow()
}

// closeWrite tells the peer that nothing more comes (close_notify). The caller must have the turn of the write side.
func (s *secure) closeWrite() error {
	if err := s.conn.CloseWrite(); err != nil {
		return err
	}
	return s.wire.flush()
}

// endNow sends what is gathered and close_notify as far as they go without waiting. The caller must have the turn of the
// write side.
func (s *secure) endNow(c *Conn) {
	if c.output.size > 0 {
		_, _ = s.conn.Write(c.output.buffer[:c.output.size])
	}
	_ = s.conn.Close()
	s.wire.flushNow()
}

// wire is a Conn's socket as crypto/tls sees it.
type wire struct {
	conn        *Conn
	handshaking bool
	known       bool   // the socket has been found ready
	turn        bool   // the handshake counts among those of its server
	early       []byte // input that had been read before the handshake

	mu  sync.Mutex
	out *ciphertext // not sent yet, or nil

	sending *ciphertext // taken from out, or nil; protected by the turn of the write side
}

// ciphertext is encrypted output in a lent buffer.
type ciphertext struct {
	data []byte
	sent int
}

// ciphertexts have room for a chunk and what TLS adds to it.
var ciphertexts = sync.Pool{New: func() any { return &ciphertext{data: make([]byte, 0, chunk+chunk/8)} }}

func (t *ciphertext) giveBack() {
	t.data, t.sent = t.data[:0], 0
	ciphertexts.Put(t)
}

// errNoInput says that the socket has nothing now. It is temporary in the sense of net.Error, which crypto/tls takes as leave to
// go on later.
var errNoInput net.Error = noInput{}

type noInput struct{}

func (noInput) Error() string   { return "coserver: no input yet" }
func (noInput) Timeout() bool   { return false }
func (noInput) Temporary() bool { return true }

// Read waits only in the handshake.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.early) > 0 {
		if err := w.begin(); err != nil {
			return 0, err
		}
		n := copy(p, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	c := w.conn
	for {
		if w.known || c.sock.Take(loop.ReadSide) {
			w.known = false
			n, err := c.sock.Recv(p)
			if n > 0 {
				if err := w.begin(); err != nil {
					return 0, err
				}
			}
			if err != loop.ErrNotReady {
				return n, err
			}
		}
		if !w.handshaking {
			return 0, errNoInput
		}
		err := c.expired(loop.ReadSide)
		if err == nil {
			w.known, err = c.wait(loop.ReadSide)
		}
		if err != nil {
			return 0, err
		}
	}
}

// begin waits for the turn of a handshake that a client has begun, if it is one of so many that its server allows at a time. One
// that has sent nothing yet takes no turn from others.
func (w *wire) begin() error {
	c := w.conn
	most := c.run.limits.handshakes
	if !w.handshaking || w.turn || most == 0 {
		return nil
	}
	if err := c.run.server.handshakes.begin(c, most); err != nil {
		return err
	}
	w.turn = true
	return nil
}

// Write waits only in the handshake.
func (w *wire) Write(p []byte) (int, error) {
	if w.handshaking {
		return w.conn.sendRaw(p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.out == nil {
		w.out = ciphertexts.Get().(*ciphertext)
	}
	w.out.data = append(w.out.data, p...)
	return len(p), nil
}

// end is the end of the handshake, however it went.
func (w *wire) end() {
	w.handshaking = false
	if w.turn {
		w.turn = false
		w.conn.run.server.handshakes.end()
	}
}

func (w *wire) pending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out != nil
}

// next makes sending what is to be sent next, or nil. The caller must have the turn of the write side.
func (w *wire) next() *ciphertext {
	if w.sending == nil {
		w.mu.Lock()
		w.sending, w.out = w.out, nil
		w.mu.Unlock()
	}
	return w.sending
}

// flush sends what is encrypted, waiting if need be. The caller must have the turn of the write side.
func (w *wire) flush() error {
	for t := w.next(); t != nil; t = w.next() {
		n, err := w.conn.sendRaw(t.data[t.sent:])
		if t.sent += n; err != nil {
			return err
		}
		t.giveBack()
		w.sending = nil
	}
	return nil
}

// flushNow sends what is encrypted as far as it goes without waiting, and drops the rest. The caller must have the turn of the
// write side.
func (w *wire) flushNow() {
	for t := w.next(); t != nil; t = w.next() {
		_, _ = w.conn.sock.Send(t.data[t.sent:])
		t.giveBack()
		w.sending = nil
	}
}

// sendNow sends what is encrypted as far as there is room, or fails with loop.ErrNotReady. The caller must have the turn of the
// write side.
func (w *wire) sendNow() error {
	for t := w.next(); t != nil; t = w.next() {
		n, err := w.conn.sock.Send(t.data[t.sent:])
		if w.conn.run.timed {
			w.conn.countSent(n)
		}
		if t.sent += n; err != nil {
			return err
		}
		t.giveBack()
		w.sending = nil
	}
	return nil
}

// unsent reports whether there is something encrypted to be sent. The caller must have the turn of the write side.
func (w *wire) unsent() bool { return w.sending != nil || w.pending() }

// drop forgets what is encrypted, and reports whether there was anything. The caller must have the turn of the write side.
func (w *wire) drop() (any bool) {
	for t := w.next(); t != nil; t = w.next() {
		t.giveBack()
		w.sending = nil
		any = true
	}
	return any
}

// What else a net.Conn has is the Conn's own business.

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return w.conn.LocalAddr() }
func (w *wire) RemoteAddr() net.Addr             { return w.conn.RemoteAddr() }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
