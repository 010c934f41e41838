package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller"
)

// datagrams is what a worker has whose connections are sockets of UDP: each message is a datagram of its own, whose answer may be missing, come twice or
// in another order. That is counted, and ends nothing.
type datagrams struct {
	batch     *packetBatch
	lostAfter int64
	due       deadlines // of connections that wait for answers
	unsent    []*conn   // that have something to send

	shared *sharedSocket // or nil
	more   bool          // there is something to be read there, or may be
}

// peer is what a connection over UDP has of its own. What is in flight are the messages from head to tail that are pending: they need not
// end in order, so there may be others between them.
type peer struct {
	operations int        // in flight
	pending    int        // datagrams without an answer, and not given up
	begins     uint32     // the number of the first message that is no part of connecting
	newest     uint32     // the latest number that has come back
	missing    missing    // that were given up
	waits      bool       // it has a deadline
	unsent     bool       // it has something to send, when others have read
	blocked    bool       // its socket takes no more: that it takes some again would else be an event for each datagram
	source     netip.Addr // if it shares a socket
	asked      int64      // when it was last asked for a sign of life, while connecting
}

// fate is what has become of a message. The worst one of its messages is that of an operation.
type fate uint8

const (
	fatePending fate = iota
	fateAnswered
	fateLost
	fateDamaged // its answer was wrong
)

const (
	// maxWindow is how many messages of a connection may lie between the oldest one in flight and the next: one that is lost holds up
	// nothing, but so much. It bounds what is kept of those behind it.
	maxWindow = 1 << 20

	// askAgain is how long a server may be silent before a connection asks again whether it is there.
	askAgain = 200 * time.Millisecond

	// lossGrain is how precisely losses are timed: each time that one is looked for costs a system call.
	lossGrain = int64(time.Millisecond)
)

func newDatagrams(o *Options) *datagrams {
	if o.Network != "udp" {
		return nil
	}
	return &datagrams{batch: newPacketBatch(o.Size.largest() + 1), lostAfter: int64(o.LostAfter)} // a byte more shows one that is too long
}

// full reports whether connection c has no room for another operation.
func (w *worker) full(c *conn) bool {
	return c.operations(w.opts.Batch) >= w.opts.Depth || c.peer != nil && int(c.tail-c.head)+w.opts.Batch > max(maxWindow, w.opts.Depth*w.opts.Batch)
}

// makeRoom lets the ring of connection c hold another operation.
func (w *worker) makeRoom(c *conn) {
	need := int(c.tail-c.head) + w.opts.Batch
	if need <= len(c.ring) {
		return
	}
	ring := make([]message, 2*len(c.ring))
	for n := c.head; n != c.tail; n++ {
		ring[int(n)&(len(ring)-1)] = *c.slot(n)
	}
	c.ring = ring
}

// await has connection c wait for the answers of an operation that was begun.
func (w *worker) await(c *conn, now int64) {
	p := c.peer
	p.operations++
	p.pending += w.opts.Batch
	if !p.waits {
		p.waits = true
		w.datagrams.due.push(w.deadline(now), uint32(w.tokenOf(c)))
	}
}

// deadline is when a datagram is lost that was begun then.
func (w *worker) deadline(begun int64) int64 {
	return (begun + w.datagrams.lostAfter + lossGrain - 1) / lossGrain * lossGrain
}

// dispatchDatagrams does for connection c what it has become ready for.
func (w *worker) dispatchDatagrams(c *conn, ready poller.Readiness) error {
	begun := c.tail
	if ready&^poller.Writable != 0 && c.fd >= 0 {
		if err := w.pullDatagrams(c); err != nil || c.state != stateOpen {
			return err
		}
	}
	if c.tail == begun && ready&poller.Writable == 0 {
		return nil
	}
	d := w.datagrams
	if !c.peer.unsent {
		c.peer.unsent = true
		d.unsent = append(d.unsent, c)
	}
	if len(d.unsent) < packetBatchSize {
		return nil
	}
	return w.pushUnsent()
}

// pushUnsent sends what dispatchDatagrams has left.
func (w *worker) pushUnsent() error {
	d := w.datagrams
	for _, c := range d.unsent {
		if c.peer == nil {
			continue
		}
		c.peer.unsent = false
		if err := w.pushDatagrams(c); err != nil {
			return err
		}
	}
	d.unsent = d.unsent[:0]
	return nil
}

// pullDatagrams takes what has come. Where one answer is in flight and it has come, nobody looks for more: whatever else there is, is found with the next.
func (w *worker) pullDatagrams(c *conn) error {
	b := w.datagrams.batch
	left := c.peer.pending // what follows them has not been sent yet
	one := left == 1
	for turn := 0; ; turn++ {
		if turn == pulls {
			c.unread = true
			w.putOff(c)
			return nil
		}
		n, errno := b.receive(w.kernel, c.fd, w.remoteOf(c), one)
		switch errno {
		case 0:
		case syscall.EAGAIN:
			return nil
		case syscall.EINTR:
			continue
		default:
			return w.broken(c, "recv", errno)
		}
		for i := range n {
			answers, err := w.takeDatagram(c, b.datagram(i))
			if err != nil || c.state != stateOpen {
				return err
			}
			if answers {
				left--
			}
		}
		if one && left == 0 || !one && n < b.size() {
			return nil
		}
	}
}

// takeDatagram checks one that has come, and reports whether it is the answer to one that was in flight.
func (w *worker) takeDatagram(c *conn, data []byte) (answers bool, err error) {
	w.seg.bytesIn += int64(len(data))
	p := c.peer
	number, known := c.pendingAs(data)
	if known {
		m := c.slot(number)
		if _, right := w.payload.check(data, m, 0); right && len(data) == m.size {
			w.seg.messages++
			w.seg.check.Checked++
			if after(p.newest, number) {
				w.seg.check.Reordered++
			} else {
				p.newest = number
			}
			w.decide(c, number, fateAnswered)
			return true, nil
		}
	}
	return known, w.takeOdd(c, data, number, known)
}

// pendingAs finds the message in flight that data says to be the answer to.
func (c *conn) pendingAs(data []byte) (number uint32, known bool) {
	if len(data) < stampSize || binary.BigEndian.Uint32(data) != c.id {
		return 0, false
	}
	number = binary.BigEndian.Uint32(data[4:])
	return number, number-c.head < c.tail-c.head && c.slot(number).fate == fatePending
}

// after reports whether a comes after b.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// takeOdd says what is wrong with a datagram that is not what was sent, or not in flight. A wrong answer ends its operation, if it can be told which one
// that is.
func (w *worker) takeOdd(c *conn, data []byte, number uint32, known bool) error {
	check := &w.seg.check
	s, right := w.payload.read(data)
	if right && s.conn == c.id && !known && !after(c.tail, s.seq) {
		right = false // it was never sent
	}
	switch {
	case right && s.conn == c.id && !known && after(c.peer.begins, s.seq): // of connecting
		return nil
	case right && s.conn == c.id && !known:
		inWindow := s.seq-c.head < c.tail-c.head
		if inWindow && c.slot(s.seq).fate == fateLost || c.peer.missing.take(s.seq) {
			check.Late++
		} else {
			check.Duplicated++
		}
		return nil
	case right && s.conn != c.id:
		check.Corrupt++
		return w.complain(c, fmt.Errorf("a message of connection %d came back", s.conn+1))
	}
	check.Corrupt++
	if !known {
		return w.complain(c, fmt.Errorf("a datagram of %d bytes came back that is none of those that were sent", len(data)))
	}
	m := c.slot(number)
	err := fmt.Errorf("message %d came back with %d bytes, not %d", number+1, len(data), m.size)
	if len(data) == m.size {
		want := make([]byte, m.size)
		w.payload.fill(want, m, 0)
		err = wrongByte(number, want, data)
	}
	w.decide(c, number, fateDamaged)
	return w.complain(c, err)
}

// decide ends message number of connection c, and with the last of them its operation.
func (w *worker) decide(c *conn, number uint32, of fate) {
	p, m := c.peer, c.slot(number)
	m.fate = of
	p.pending--
	first := c.slot(number - m.nth)
	first.worst = max(first.worst, of)
	first.left--
	if first.left > 0 {
		return
	}
	p.operations--
	w.inFlight--
	now := w.kernel.Nanotime()
	switch first.worst {
	case fateAnswered:
		if first.kind == kindMain {
			w.seg.operations++
		}
		w.seg.done(first.kind, now, first.planned, first.begun)
	case fateLost:
		w.seg.censor(first.kind, now, first.planned, first.begun)
	}
	kind := first.kind
	for c.head != c.tail && c.slot(c.head).left == 0 {
		c.head += uint32(w.opts.Batch)
	}
	if after(c.head, c.sent) { // what could not be sent for so long is not sent any more
		c.sent = c.head
	}
	w.nextDatagrams(c, kind, now)
}

// nextDatagrams begins on connection c what follows an operation of that kind that has ended.
func (w *worker) nextDatagrams(c *conn, kind uint8, now int64) {
	for c.waiting.len() > 0 && !w.full(c) {
		w.queued--
		w.begin(c, c.waiting.pop(), now)
	}
	switch {
	case w.open || w.draining || kind != kindMain:
	case w.full(c): // one that is lost is far behind
		c.waiting.push(now)
		w.queued++
	default:
		w.begin(c, now, now)
	}
}

// pushDatagrams sends what is to be sent, as much as the socket takes. A Writable event continues it.
func (w *worker) pushDatagrams(c *conn) error {
	if c.fd < 0 {
		return w.pushShared(c)
	}
	b := w.datagrams.batch
	for c.sent != c.tail {
		n := 0
		for at := c.sent; at != c.tail && n < b.size(); at++ {
			m := c.slot(at)
			w.payload.fill(b.room(n, m.size), m, 0)
			n++
		}
		sent, errno := b.send(w.kernel, c.fd, w.remoteOf(c), n)
		switch errno {
		case 0:
		case syscall.EAGAIN:
			return w.block(c, true)
		case syscall.EINTR:
			continue
		case syscall.ENOBUFS: // no event tells when there is room: it is lost, as it would be in the network
			sent = 1
		default:
			return w.broken(c, "send", errno)
		}
		for range sent {
			w.seg.bytesOut += int64(c.slot(c.sent).size)
			c.sent++
		}
	}
	return w.block(c, false)
}

// block has connection c wait until its socket takes more, or no longer.
func (w *worker) block(c *conn, blocked bool) error {
	if c.peer.blocked == blocked {
		return nil
	}
	c.peer.blocked = blocked
	interest := poller.Readable
	if blocked {
		interest |= poller.Writable
	}
	return w.poller.Modify(c.fd, w.tokenOf(c), interest)
}

// giveUp counts as lost what has been in flight for too long. It is called when all that had come by now was seen: what this process has not looked for
// is not lost.
func (w *worker) giveUp() error {
	d := w.datagrams
	for len(d.due) > 0 && d.due[0].at <= w.now {
		c := &w.conns[d.due.pop()]
		p := c.peer
		if p == nil { // it has ended
			continue
		}
		p.waits = false
		begun := c.tail
		for n := c.head; n != c.tail; n++ {
			m := c.slot(n)
			if m.fate != fatePending {
				continue
			}
			if at := w.deadline(m.begun); at > w.now || c.unread {
				p.waits = true
				d.due.push(max(at, w.now+lossGrain), uint32(w.tokenOf(c)))
				break
			}
			w.seg.check.Lost++
			p.missing.add(n)
			w.decide(c, n, fateLost)
		}
		if c.tail == begun {
			continue
		}
		if err := w.pushDatagrams(c); err != nil {
			return err
		}
	}
	return nil
}

// censorDatagrams counts what is in flight on connection c when the drain is over.
func (w *worker) censorDatagrams(c *conn) {
	for ; c.head != c.tail; c.head++ {
		if m := c.slot(c.head); m.nth == 0 && m.left > 0 {
			w.seg.censor(m.kind, w.now, m.planned, m.begun)
		}
	}
}

const (
	// usualBuffer is what the kernel of any system holds for a socket, and largestBuffer what is asked for at most, in bytes.
	usualBuffer   = 128 << 10
	largestBuffer = 4 << 20
	// packetOverhead is about what the kernel takes for a datagram besides its bytes.
	packetOverhead = 1 << 10
)

// beginPeer begins to connect c, whose socket has its address: all that is to be done is to see whether somebody answers.
func (w *worker) beginPeer(c *conn) error {
	if c.fd < 0 {
		return w.ask(c)
	}
	if err := w.poller.Add(c.fd, w.tokenOf(c), poller.Readable); err != nil {
		return err
	}
	if need := w.opts.Depth * w.opts.Batch * (2*w.opts.Size.largest() + packetOverhead); need > usualBuffer {
		_ = w.kernel.SetReadBuffer(c.fd, min(need, largestBuffer)) // what does not fit is lost, which is counted
	}
	return w.ask(c)
}

// ask has connection c, whose socket is there, send a first datagram: it is made when that comes back. A socket of UDP alone would connect to anything.
func (w *worker) ask(c *conn) error {
	c.peer.asked = w.now
	c.state = stateHello
	m := c.slot(c.tail)
	*m = message{planned: w.now, begun: w.now, size: w.opts.Size.smallest()}
	w.payload.write(m, c.id, c.seq, &c.body)
	c.tail, c.seq = c.tail+1, c.seq+1
	c.head, c.sent = c.tail, c.tail
	if c.fd < 0 {
		return w.addShared(w.datagrams.shared, c, m, addrPortOf(w.remoteOf(c)))
	}
	b := w.datagrams.batch
	w.payload.fill(b.room(0, m.size), m, 0)
	switch _, errno := b.send(w.kernel, c.fd, w.remoteOf(c), 1); errno {
	case 0, syscall.EAGAIN, syscall.EINTR, syscall.ENOBUFS: // it is asked again
		return nil
	default:
		return w.unconnected(c, os.NewSyscallError("send", errno))
	}
}

// hearDatagram takes what may be the answer to ask.
func (w *worker) hearDatagram(c *conn) error {
	b := w.datagrams.batch
	for {
		n, errno := b.receive(w.kernel, c.fd, w.remoteOf(c), true)
		switch errno {
		case 0:
		case syscall.EAGAIN:
			return nil
		case syscall.EINTR:
			continue
		default:
			return w.unconnected(c, os.NewSyscallError("recv", errno))
		}
		if n == 0 { // it came from somebody else
			continue
		}
		return w.hearAnswer(c, b.datagram(0))
	}
}

// hearAnswer makes connection c if data is what it has sent.
func (w *worker) hearAnswer(c *conn, data []byte) error {
	s, right := w.payload.read(data)
	if !right || s.conn != c.id || s.seq >= c.seq {
		return w.unconnected(c, errors.New("the first datagram came back changed"))
	}
	c.peer.begins, c.peer.newest = c.tail, c.tail-1
	w.opened(c)
	return nil
}

// askOnceMore asks connection c again if it has not answered.
func (w *worker) askOnceMore(c *conn) error {
	if c.state != stateHello || w.now-c.peer.asked < int64(askAgain) {
		return nil
	}
	return w.ask(c)
}
