package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/poller"
)

// connecting is how a worker makes its connections.
type connecting struct {
	gap  int64 // between two of them, ns; 0 for none
	most int   // at the same time
	wait int64 // for an answer, ns

	started, done int
	made, failed  int
	next          int64 // when another may be begun, kernel time
	latency       *result.Histogram
	errors        map[string]int64
	faults        []string
}

// again is how soon a connection is tried again whose listener's backlog is full: a unix socket does not wait for room (connect(2)).
const again = time.Millisecond

// makeConns makes all connections of the worker.
func (w *worker) makeConns() error {
	p := &w.connecting
	p.latency, p.errors = result.NewHistogram(), make(map[string]int64)
	w.now = w.kernel.Nanotime()
	w.checked, p.next = w.now, w.now
	for p.done < len(w.conns) {
		for p.started < len(w.conns) && p.started-p.done < p.most && w.now >= p.next {
			if err := w.dial(&w.conns[p.started]); err != nil {
				return err
			}
		}
		if p.done == len(w.conns) {
			break
		}
		due := w.checked + int64(checkPeriod)
		if w.datagrams != nil && w.datagrams.more {
			due = w.now
		}
		if p.started < len(w.conns) && p.started-p.done < p.most {
			due = min(due, p.next)
		}
		n, err := w.wait(due)
		if err != nil {
			return err
		}
		for _, event := range w.events[:n] {
			if w.ofNoConn(event.Token) {
				continue
			}
			c := &w.conns[event.Token]
			var err error
			switch {
			case c.state == stateConnecting && event.Readiness&(poller.Writable|poller.Closed) != 0:
				err = w.connected(c)
			case c.state == stateSecuring:
				err = w.secured(c)
			case c.state == stateHello && event.Readiness&poller.Readable != 0:
				err = w.hear(c)
			}
			if err != nil {
				return err
			}
		}
		if err := w.pullMore(); err != nil {
			return err
		}
		if w.now-w.checked >= int64(checkPeriod) {
			w.checked = w.now
			if err := w.lookAtHandshakes(); err != nil {
				return err
			}
		}
	}
	return nil
}

// dial begins one connection, which is the next, and plans the one after it.
func (w *worker) dial(c *conn) error {
	p := &w.connecting
	began := w.kernel.Nanotime()
	fd, err := -1, error(nil)
	if c.peer == nil || !c.peer.source.IsValid() {
		fd, err = w.connect(w.remoteOf(c), w.sourceOf(c))
	}
	if errors.Is(err, syscall.EAGAIN) {
		p.next = w.now + int64(again)
		return nil
	}
	p.started++
	p.next = max(p.next+p.gap, w.now-p.gap)
	if err != nil {
		return w.unconnected(c, err)
	}
	c.fd, c.state, c.heard = fd, stateConnecting, began
	if c.peer != nil {
		return w.beginPeer(c)
	}
	return w.poller.Add(fd, w.tokenOf(c), poller.Readable|poller.Writable)
}

// connected takes the outcome of an attempt.
func (w *worker) connected(c *conn) error {
	switch errno := w.kernel.Connected(c.fd); errno {
	case 0:
	case syscall.EINPROGRESS: // the event was about something else
		return nil
	default:
		return w.unconnected(c, os.NewSyscallError("connect", errno))
	}
	if w.security != nil {
		w.beginTLS(c)
	}
	return w.secured(c)
}

// secured goes on with a connection when TLS, if it is spoken, may have shaken hands.
func (w *worker) secured(c *conn) error {
	if done, err := w.shakeHands(c); !done || err != nil {
		if err != nil {
			return w.unconnected(c, err)
		}
		return nil
	}
	if waits, err := w.greet(c); waits || err != nil {
		return err
	}
	w.opened(c)
	return nil
}

// opened counts a connection that is ready for traffic.
func (w *worker) opened(c *conn) {
	p := &w.connecting
	c.state = stateOpen
	p.latency.Record(w.kernel.Nanotime() - c.heard)
	p.done, p.made = p.done+1, p.made+1
	w.openConns++
}

// unconnected counts a connection that could not be made. It returns an error only if that ends the run.
func (w *worker) unconnected(c *conn, err error) error {
	p := &w.connecting
	kind := kindConnect
	var errno syscall.Errno
	var handshake *handshakeError
	switch {
	case errors.As(err, &handshake):
		kind = kindHandshake
	case errors.As(err, &errno):
		kind = "connect: " + errno.Error()
	}
	err = fmt.Errorf("connection %d of %d to %v: %w", c.id+1, w.total, w.remoteOf(c), err)
	if w.opts.FailFast {
		return err
	}
	p.done, p.failed = p.done+1, p.failed+1
	p.errors[kind]++
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, err.Error())
	}
	w.discard(c)
	return nil
}

// lookAtHandshakes looks for an end from outside and for connections that have been waiting for too long.
func (w *worker) lookAtHandshakes() error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	p := &w.connecting
	for i := range w.conns[:p.started] {
		c := &w.conns[i]
		var err error
		switch {
		case c.state != stateConnecting && c.state != stateSecuring && c.state != stateHello:
		case w.now-c.heard > p.wait:
			err = w.unconnected(c, fmt.Errorf("connect: no answer for %v", time.Duration(p.wait)))
		case c.peer != nil:
			err = w.askOnceMore(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
