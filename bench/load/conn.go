package load

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/strand-net/strand/poller"
)

// conn is one connection and what is on its way there.
type conn struct {
	fd     int
	tls    *session // or nil
	state  connState
	role   role
	again  bool   // it is among those that go on when others have had their turn
	unread bool   // and has more to read
	ended  bool   // an event has told that the server's end lies behind what is to be read
	id     uint32 // over all connections of the run
	seq    uint32 // of the next message

	// ring holds the messages in flight by their numbers, which only grow: those from head to sent have been sent whole, those from sent to tail
	// have not. Its length is a power of two.
	ring             []message
	head, sent, tail uint32
	headAt, sentAt   int // bytes of the message at head that have come back, and of the one at sent that have been sent
	due              int // bytes that have been sent and not come back

	waiting starts // operations that were planned and have no room
	body    bodyOf
	heard   int64  // when something last happened here, to within an iteration
	suspect []byte // what has come since the first wrong byte, until it is enough to say what is wrong

	more *moreState // of workloads other than echo; nil for that
	peer *peer      // of UDP; nil for a stream
}

// role is what a connection is there for.
type role uint8

const (
	roleActive role = iota
	roleIdle
	roleSlow
)

// kind is that of what begins on c.
func (c *conn) kind() uint8 {
	if c.role == roleIdle {
		return kindHeartbeat
	}
	return kindMain
}

// slot is where message number n, counted as head and tail are, stands.
func (c *conn) slot(n uint32) *message { return &c.ring[n&uint32(len(c.ring)-1)] }

type connState uint8

const (
	stateNew connState = iota
	stateConnecting
	stateSecuring // connected, and in the handshake of TLS
	stateHello    // connected, and waiting for the answer to what a protocol begins with
	stateOpen
	stateEnded
)

// starts is a queue of planned starts. It grows when a connection falls behind the plan, and keeps its memory.
type starts struct {
	ring       []int64
	head, tail int // the length of ring is a power of two, or 0
}

func (s *starts) len() int { return s.tail - s.head }

func (s *starts) push(planned int64) {
	if s.len() == len(s.ring) {
		grown := make([]int64, max(4, 2*len(s.ring)))
		n := s.len()
		for i := range n {
			grown[i] = s.ring[(s.head+i)&(len(s.ring)-1)]
		}
		s.ring, s.head, s.tail = grown, 0, n
	}
	s.ring[s.tail&(len(s.ring)-1)] = planned
	s.tail++
}

func (s *starts) pop() int64 {
	planned := s.ring[s.head&(len(s.ring)-1)]
	s.head++
	return planned
}

// operations is how many are in flight.
func (c *conn) operations(batch int) int {
	if c.peer != nil {
		return c.peer.operations
	}
	return (int(c.tail-c.head) + batch - 1) / batch
}

var errClosedByServer = errors.New("the server closed it")

// begin puts an operation on its way; push sends it.
func (w *worker) begin(c *conn, planned, now int64) {
	kind := c.kind()
	if c.head == c.tail {
		c.heard = now
	}
	if c.peer != nil {
		w.makeRoom(c)
		w.await(c, now)
	}
	for i := range w.opts.Batch {
		m := c.slot(c.tail)
		m.planned, m.begun, m.kind = planned, now, kind
		m.nth, m.left, m.fate, m.worst = uint32(i), w.opts.Batch, fatePending, fatePending
		m.size = w.size
		if w.size == 0 {
			m.size = w.opts.Size.pick(w.random)
		}
		m.last = i == w.opts.Batch-1
		if w.work == workProtocol {
			m.fixed = c.more.protocol.request
			m.size = len(m.fixed)
		} else {
			w.payload.write(m, c.id, c.seq, &c.body)
		}
		c.tail++
		c.seq++
	}
	w.inFlight++
	if w.work == workBroadcast {
		w.broadcast.published[w.broadcast.seats[c.id].room].Add(int64(w.opts.Batch))
	}
	w.seg.begun(kind, now, planned)
}

// arrive is what the plan has for connection c now: it begins an operation, or has it wait for room.
func (w *worker) arrive(c *conn, planned int64) error {
	if w.work == workChurn {
		return w.arriveVisit(c, planned)
	}
	if c.state != stateOpen {
		w.seg.failed(kindNoConnection, 1)
		return nil
	}
	if c.waiting.len() > 0 || w.full(c) {
		c.waiting.push(planned)
		w.queued++
		return nil
	}
	w.begin(c, planned, w.kernel.Nanotime())
	return w.push(c)
}

// complete counts an operation that has ended, and begins the next.
func (w *worker) complete(c *conn, kind uint8, planned, begun int64) {
	now := w.kernel.Nanotime()
	w.inFlight--
	if kind == kindMain {
		w.seg.operations++
	}
	w.seg.done(kind, now, planned, begun)
	if w.work == workChurn {
		w.leave(c)
		return
	}
	w.next(c, kind, now)
}

// next begins on connection c what follows an operation that has ended.
func (w *worker) next(c *conn, kind uint8, now int64) {
	switch {
	case c.waiting.len() > 0:
		w.queued--
		w.begin(c, c.waiting.pop(), now)
	case !w.open && !w.draining && kind == kindMain:
		w.begin(c, now, now)
	}
}

// dispatch does for connection c what it has become ready for.
func (w *worker) dispatch(c *conn, ready poller.Readiness) error {
	switch {
	case c.state == stateConnecting && w.work == workChurn:
		return w.arrived(c, ready)
	case c.state == stateSecuring && w.work == workChurn:
		return w.admitted(c)
	case c.state != stateOpen:
		return nil
	}
	if c.peer != nil {
		return w.dispatchDatagrams(c, ready)
	}
	c.ended = c.ended || ready&(poller.ReadClosed|poller.Closed) != 0
	if c.tls != nil {
		if err := w.prepareTLS(c, ready); err != nil || c.state != stateOpen {
			return err
		}
	}
	if c.role == roleSlow {
		return w.dispatchSlow(c, ready)
	}
	unsent := c.tail
	turn := 0
	for more := ready&poller.Readable != 0; more; turn++ {
		if turn == pulls {
			c.unread = true
			w.putOff(c)
			break
		}
		var err error
		if more, err = w.pull(c, c.ended); err != nil || c.state != stateOpen {
			return err
		}
	}
	if c.tail != unsent || ready&poller.Writable != 0 {
		return w.push(c)
	}
	return nil
}

// putOff has connection c go on when others have had their turn.
func (w *worker) putOff(c *conn) {
	if !c.again {
		c.again = true
		w.again = append(w.again, c)
	}
}

// pulls is how many times a connection reads before it is another's turn: a server may send faster than this reads.
const pulls = 64

// pushes is how many times a connection sends before it is another's turn: a sink always takes more.
const pushes = 16

// push sends of what is to be sent as much as the socket takes. A Writable event continues it.
func (w *worker) push(c *conn) error {
	if c.peer != nil {
		return w.pushDatagrams(c)
	}
	for turn := 0; c.sent != c.tail; turn++ {
		if turn == pushes {
			w.putOff(c)
			return nil
		}
		n := 0
		for at, offset := c.sent, c.sentAt; at != c.tail && n < len(w.out); at++ {
			n += w.payload.fill(w.out[n:], c.slot(at), offset)
			offset = 0
		}
		sent, errno := w.send(c, w.out[:n])
		switch errno {
		case 0:
			if w.work == workSink {
				w.sum(c.more, w.out[:sent])
			}
			w.pushed(c, sent)
		case syscall.EAGAIN:
			return nil
		case syscall.EINTR:
		default:
			return w.broken(c, "send", errno)
		}
	}
	if w.finishing {
		return w.shutdown(c)
	}
	return nil
}

// pushed counts n bytes that were sent.
func (w *worker) pushed(c *conn, n int) {
	w.seg.bytesOut += int64(n)
	c.due += n
	for n > 0 {
		m := c.slot(c.sent)
		left := m.size - c.sentAt
		if n < left {
			c.sentAt += n
			return
		}
		n -= left
		c.sent, c.sentAt = c.sent+1, 0
		if w.work != workSink {
			continue
		}
		c.head = c.sent
		w.seg.messages++
		if m.last {
			w.complete(c, m.kind, m.planned, m.begun)
		}
	}
}

// pull reads once; more says that it must be called again. A read that does not fill the buffer has drained the socket, unless the
// peer's end lies behind the data: no further event would tell of that.
func (w *worker) pull(c *conn, ended bool) (more bool, err error) {
	n, errno := w.recv(c, w.in)
	switch {
	case errno == syscall.EAGAIN:
		return false, nil
	case errno == syscall.EINTR:
		return true, nil
	case errno != 0:
		return false, w.broken(c, "recv", errno)
	case n == 0:
		return false, w.closed(c)
	}
	c.heard = w.now
	w.seg.bytesIn += int64(n)
	switch w.work {
	case workSink:
		err = w.takeReceipt(c, w.in[:n])
	case workProtocol:
		err = w.takeReplies(c, w.in[:n])
	case workPush, workBroadcast:
		err = w.receive(c, w.in[:n])
	default:
		err = w.take(c, w.in[:n])
	}
	return ended || n == len(w.in) || c.tls != nil, err // a record need not be the last that has come
}

// closed is what the end of the stream from the server means.
func (w *worker) closed(c *conn) error {
	switch {
	case c.suspect != nil:
		return w.accuse(c)
	case c.more != nil && c.more.finishing:
		return w.finished(c)
	case c.head == c.tail:
		return w.fail(c, kindClosed, errClosedByServer)
	}
	m := c.slot(c.head)
	return w.fail(c, kindClosed, fmt.Errorf("%w after %d of %d bytes of a message", errClosedByServer, c.headAt, m.size))
}

// take checks what has come back. A byte more than is due is found at once: it cannot hide in the next message.
func (w *worker) take(c *conn, data []byte) error {
	if c.suspect != nil {
		return w.suspect(c, data)
	}
	surplus := data[min(len(data), c.due):]
	data = data[:len(data)-len(surplus)]
	c.due -= len(data)
	for len(data) > 0 {
		m := c.slot(c.head)
		n, right := w.payload.check(data, m, c.headAt)
		if !right {
			return w.suspect(c, append(data[:len(data):len(data)], surplus...))
		}
		data = data[n:]
		if c.headAt += n; c.headAt < m.size {
			break
		}
		c.head, c.headAt = c.head+1, 0
		w.seg.messages++
		w.seg.check.Checked++
		if m.last {
			w.complete(c, m.kind, m.planned, m.begun)
		}
		if c.state != stateOpen { // its visit is over
			return w.leftOver(c, len(data)+len(surplus))
		}
	}
	if len(surplus) > 0 {
		return w.suspect(c, surplus)
	}
	return nil
}
