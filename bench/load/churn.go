package load

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/strand-net/strand/poller"
)

// arriveVisit is arrive for a churn: a connection that is busy with a visit has the next wait.
func (w *worker) arriveVisit(c *conn, planned int64) error {
	if c.more.began != 0 || c.waiting.len() > 0 {
		c.waiting.push(planned)
		w.queued++
		return nil
	}
	return w.visit(c, planned)
}

// visit begins one: it connects. What the connect phase has left is closed before.
func (w *worker) visit(c *conn, planned int64) error {
	w.hangUp(c)
	now := w.kernel.Nanotime()
	c.more.planned, c.more.began = planned, now
	w.inFlight++
	fd, err := w.connect(w.remoteOf(c), w.sourceOf(c))
	if err != nil {
		return w.failVisit(c, err)
	}
	c.fd, c.state, c.heard = fd, stateConnecting, now
	return w.poller.Add(fd, w.tokenOf(c), poller.Readable|poller.Writable)
}

// arrived goes on with a visit that may have connected: it sends.
func (w *worker) arrived(c *conn, ready poller.Readiness) error {
	if ready&(poller.Writable|poller.Closed) == 0 {
		return nil
	}
	switch errno := w.kernel.Connected(c.fd); errno {
	case 0:
	case syscall.EINPROGRESS:
		return nil
	default:
		return w.failVisit(c, fmt.Errorf("connect: %w", errno))
	}
	if w.security != nil {
		w.beginTLS(c)
	}
	return w.admitted(c)
}

// admitted goes on with a visit when TLS, if it is spoken, may have shaken hands.
func (w *worker) admitted(c *conn) error {
	if done, err := w.shakeHands(c); !done || err != nil {
		if err != nil {
			return w.failVisit(c, err)
		}
		return nil
	}
	c.state = stateOpen
	w.openConns++
	now := w.kernel.Nanotime()
	w.seg.done(kindConnecting, now, c.more.began, c.more.began)
	w.inFlight-- // begin counts it again
	w.begin(c, c.more.planned, c.more.began)
	c.heard = now
	return w.push(c)
}

// leave ends a visit whose answer is there, and has the next begin.
func (w *worker) leave(c *conn) {
	w.hangUp(c)
	c.more.began = 0
	w.leaving = append(w.leaving, c)
}

// hangUp closes connection c, which stays in the run.
func (w *worker) hangUp(c *conn) {
	if c.fd < 0 {
		return
	}
	if c.state == stateOpen {
		w.openConns--
	}
	w.closeSocket(c)
	c.fd, c.state = -1, stateNew
	c.ended, c.unread = false, false
	c.head, c.sent, c.headAt, c.sentAt, c.due, c.suspect = c.tail, c.tail, 0, 0, 0, nil
}

// nextVisits has the next visits of those begin that have ended.
func (w *worker) nextVisits() error {
	for len(w.leaving) > 0 {
		c := w.leaving[len(w.leaving)-1]
		w.leaving = w.leaving[:len(w.leaving)-1]
		var err error
		switch {
		case c.more.began != 0:
		case c.waiting.len() > 0:
			w.queued--
			err = w.visit(c, c.waiting.pop())
		case !w.open && !w.draining:
			err = w.visit(c, w.kernel.Nanotime())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// failVisit counts a visit that has failed. The next is tried when connections are looked at: a server that refuses must not keep the
// generator busy.
func (w *worker) failVisit(c *conn, err error) error {
	kind := kindConnect
	var errno syscall.Errno
	var handshake *handshakeError
	switch {
	case errors.As(err, &handshake):
		kind = kindHandshake
	case errors.As(err, &errno):
		kind = errno.Error()
	}
	return w.fail(c, kind, err)
}

// revisit counts a visit that has failed, and makes connection c ready for another.
func (w *worker) revisit(c *conn, kind string) {
	if c.more.began != 0 {
		w.inFlight--
	}
	w.seg.failed(kind, 1)
	kept := *c
	w.discard(c)
	*c = conn{fd: -1, id: kept.id, role: kept.role, ring: kept.ring, waiting: kept.waiting, seq: kept.seq, more: &moreState{}}
}

// lookAtVisit ends a visit that takes too long to connect, and begins one where the last has failed.
func (w *worker) lookAtVisit(c *conn) error {
	if (c.state == stateConnecting || c.state == stateSecuring) && w.now-c.heard > w.connecting.wait {
		return w.failVisit(c, errors.New("connect: no answer"))
	}
	if c.more.began == 0 && c.role == roleActive {
		w.leaving = append(w.leaving, c)
		return w.nextVisits()
	}
	return nil
}

// leftOver finds bytes that have come behind the answer of a visit.
func (w *worker) leftOver(c *conn, surplus int) error {
	if surplus == 0 {
		return nil
	}
	w.seg.check.Corrupt++
	return w.complain(c, fmt.Errorf("%d bytes came back although nothing was due", surplus))
}
