package coserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/strand-net/strand/loop"
)

// defaultHandshakeTimeout is how long a peer has for its handshake, unless the server says otherwise.
const defaultHandshakeTimeout = 10 * time.Second

// StartTLS makes the connection one of TLS from here on, as after STARTTLS of SMTP or when Peek has shown the first byte of
// a handshake: what is read and written afterwards is encrypted. A connection that was accepted is the server's end of it, one
// that was dialled the client's. The handshake is over when StartTLS returns, and takes at most ten seconds, or until the
// deadlines of the connection. Input that has come but not been read yet counts as the beginning of the handshake; so
// nothing that came in plain text can pass for encrypted. After an error the connection should be closed.
//
// No other call may be under way on the connection. A config that allows renegotiation is not supported.
func (c *Conn) StartTLS(config *tls.Config) error {
	return c.startTLS(config, defaultHandshakeTimeout)
}

// TLS returns what the handshake has agreed upon, or nil if the connection is not one of TLS. It must not be called while
// StartTLS is under way.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.secure == nil {
		return nil
	}
	state := c.secure.conn.ConnectionState()
	return &state
}

func (c *Conn) startTLS(config *tls.Config, timeout time.Duration) error {
	if c.secure != nil {
		return errors.New("coserver: StartTLS: the connection is one of TLS already")
	}
	if config.Renegotiation != tls.RenegotiateNever {
		return fmt.Errorf("coserver: StartTLS: tls.Config.Renegotiation: %w", errors.ErrUnsupported)
	}
	if err := c.lock(loop.ReadSide); err != nil {
		return c.opError("handshake", err)
	}
	defer c.unlock(loop.ReadSide)
	if err := c.lock(loop.WriteSide); err != nil {
		return c.opError("handshake", err)
	}
	defer c.unlock(loop.WriteSide)
	if c.output.size > 0 { // the answer to STARTTLS, perhaps
		if _, err := c.sendGathered(); err != nil {
			return c.opError("write", err)
		}
	}
	c.limitHandshake(true)
	defer c.limitHandshake(false)
	s := newSecure(c, config)
	restore := c.limit(timeout)
	err := s.handshake(c)
	if over := restore(); over && errors.Is(err, os.ErrDeadlineExceeded) {
		c.run.server.counters.timedOut.handshake.Add(1)
		err = ErrHandshakeTimeout
	}
	if err != nil {
		c.run.server.counters.handshakeErrors.Add(1)
		err = fmt.Errorf("coserver: TLS handshake: %w", err)
		c.output.err = err // what was to be encrypted must not be sent now
		return err
	}
	c.secure = s
	return nil
}

// limit brings the deadlines of both sides forward, and returns what puts back those that nobody has changed meanwhile, and
// reports whether such a one is over.
func (c *Conn) limit(timeout time.Duration) (restore func() (over bool)) {
	if timeout < 0 {
		return func() bool { return false }
	}
	d := c.makeDeadlines()
	limit := c.sock.Loop().Now() + int64(timeout)
	var before [2]int64
	for side := range d.at {
		if before[side] = d.at[side].Load(); before[side] == 0 || before[side] > limit {
			d.at[side].CompareAndSwap(before[side], limit)
		}
	}
	return func() (over bool) {
		for side := range d.at {
			if before[side] != limit && d.at[side].CompareAndSwap(limit, before[side]) {
				over = c.sock.Loop().Now() >= limit
			}
		}
		return over
	}
}
