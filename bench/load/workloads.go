package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/strand-net/strand/poller"
)

// work is a workload, by a number.
type work uint8

const (
	workEcho work = iota
	workSink
	workPush
	workBroadcast
	workChurn
	workProtocol // an echo of another kind
)

func workOf(name string) work {
	return map[string]work{WorkloadEcho: workEcho, WorkloadSink: workSink, WorkloadPush: workPush,
		WorkloadBroadcast: workBroadcast, WorkloadChurn: workChurn}[name]
}

// moreState is what a connection has of workloads other than echo.
type moreState struct {
	// Of a sink, and of a slow reader: what was sent, and of that reader what has come back.
	bytes, back int64
	crc         uint32
	finishing   bool // the sending side is shut down, and what the server still says is awaited
	receipt     []byte

	protocol *protocol  // or nil
	partial  []byte     // of a protocol, push and broadcast: the begin of a message
	streams  []received // by sender
	received int64      // messages, and those that are known to be missing

	planned, began int64 // of a visit
	allowance      int64 // bytes that a slow reader may read
}

// received is what has come of one sender.
type received struct {
	next    uint32
	missing int64
}

// broadcast is what the workers of a broadcast have in common.
type broadcast struct {
	seats      []seat         // by connection
	senders    []int          // by room, how many
	published  []atomic.Int64 // by room, messages that were begun
	publishing atomic.Int32   // workers that may begin more
}

func newBroadcast(o *Options) *broadcast {
	s := &broadcast{}
	if o.Workload != WorkloadBroadcast {
		return s
	}
	s.publishing.Store(int32(o.Threads))
	s.seats = seats(o)
	rooms := max(1, o.Rooms)
	s.published = make([]atomic.Int64, rooms)
	for room := range rooms {
		s.senders = append(s.senders, share(o.Active, room, rooms))
	}
	return s
}

// equip gives connection c what it needs for its workload and role.
func (w *worker) equip(c *conn) {
	switch {
	case w.work == workProtocol:
		c.more = &moreState{protocol: newProtocol(w.opts, c.id)}
	case w.work == workEcho && c.role != roleSlow:
	case w.work == workPush:
		c.more = &moreState{streams: make([]received, 1)}
	case w.work == workBroadcast:
		room := w.broadcast.seats[c.id].room
		c.more = &moreState{streams: make([]received, w.broadcast.senders[room])}
		if w.opts.Rooms > 0 {
			c.more.protocol = enter(int(room))
		}
	case w.untold:
		c.more = &moreState{protocol: &protocol{hello: w.cookie}}
	default:
		c.more = &moreState{}
	}
}

// beginDrain ends what would go on by itself.
func (w *worker) beginDrain() error {
	for i := range w.conns {
		c := &w.conns[i]
		if c.state != stateOpen {
			continue
		}
		switch {
		case w.untold:
			continue
		case c.role == roleSlow, w.work == workPush:
			c.more.finishing = true
			w.unfinished++
		case w.work == workSink:
			w.unfinished++
			continue // what was planned comes first
		}
		if err := w.shutdown(c); err != nil {
			return err
		}
	}
	return nil
}

// shutdown tells the server that no more will come, once all is sent. For a slow reader it is the time to read.
func (w *worker) shutdown(c *conn) error {
	switch {
	case c.state != stateOpen:
		return nil
	case c.role == roleSlow:
		return w.pullSlow(c)
	case w.work == workSink && !c.more.finishing && c.sent == c.tail && c.waiting.len() == 0:
		c.more.finishing = true
	case w.work != workPush:
		return nil
	}
	return w.endSending(c)
}

// finished takes the end of the stream after the sending side was shut down.
func (w *worker) finished(c *conn) error {
	m := c.more
	if w.work == workSink {
		if err := w.checkReceipt(c); err != nil || c.state != stateOpen {
			return err
		}
	}
	if len(m.partial) > 0 {
		return w.fail(c, kindClosed, fmt.Errorf("%w after %d bytes of a message", errClosedByServer, len(m.partial)))
	}
	w.unfinished--
	w.openConns--
	w.discard(c)
	return nil
}

// forget takes back what is counted of connection c, which fails.
func (w *worker) forget(c *conn) {
	if c.more.finishing || w.draining && w.work == workSink && !w.untold {
		w.unfinished--
	}
}

// settle says what is still missing on connection c when the drain is over.
func (w *worker) settle(c *conn) error {
	m := c.more
	if c.state != stateOpen {
		return nil
	}
	switch {
	case c.role == roleSlow && m.back < m.bytes:
		w.seg.check.Lost++
		return w.fail(c, kindContent, fmt.Errorf("of %d bytes that were sent and not read for long, %d have come back", m.bytes, m.back))
	case w.work == workBroadcast:
		return w.settleBroadcast(c)
	case (w.work == workSink || w.work == workPush) && w.unfinished > 0:
		return w.fail(c, kindClosed, errors.New("the server has not ended the connection"))
	}
	return nil
}

// sum counts what was sent to a sink.
func (w *worker) sum(m *moreState, sent []byte) {
	m.bytes += int64(len(sent))
	if !w.untold { // otherwise nobody asks for it
		m.crc = crc32.Update(m.crc, castagnoli, sent)
	}
}

// receiptSize is that of what a sink says at the end: how many bytes, and their CRC-32C.
const receiptSize = 12

func (w *worker) takeReceipt(c *conn, data []byte) error {
	m := c.more
	m.receipt = append(m.receipt, data...)
	if !m.finishing || len(m.receipt) > receiptSize {
		w.seg.check.Corrupt++
		return w.fail(c, kindContent, fmt.Errorf("0x%02x came back although nothing was due", data[0]))
	}
	return nil
}

// checkReceipt compares what a sink has received with what was sent. A sink need not say it.
func (w *worker) checkReceipt(c *conn) error {
	m := c.more
	if len(m.receipt) == 0 {
		return nil
	}
	if len(m.receipt) < receiptSize {
		w.seg.check.Corrupt++
		return w.fail(c, kindContent, fmt.Errorf("the receipt has %d bytes, not %d", len(m.receipt), receiptSize))
	}
	bytes, crc := int64(binary.BigEndian.Uint64(m.receipt)), binary.BigEndian.Uint32(m.receipt[8:])
	switch {
	case bytes != m.bytes:
		w.seg.check.Lost++
		return w.fail(c, kindContent, fmt.Errorf("the server has received %d bytes, and %d were sent", bytes, m.bytes))
	case crc != m.crc:
		w.seg.check.Corrupt++
		return w.fail(c, kindContent, fmt.Errorf("the server has received other bytes than were sent: their CRC is %08x, not %08x", crc, m.crc))
	}
	w.seg.check.Checked += int64(c.seq)
	return nil
}

// order asks strand's own server to send.
func (w *worker) order(c *conn) error {
	rate := w.opts.Rate / float64(w.opts.Conns)
	text := PushOrder{Conn: c.id, Rate: rate, Size: w.opts.Size}.String()
	n, errno := w.send(c, []byte(text))
	if errno != 0 {
		return w.broken(c, "send", errno)
	}
	if n < len(text) {
		return w.fail(c, kindClosed, errors.New("send: the socket does not take a line"))
	}
	return nil
}

// receive takes messages that come by themselves.
func (w *worker) receive(c *conn, data []byte) error {
	m := c.more
	now := w.kernel.Nanotime()
	if len(m.partial) > 0 {
		m.partial = append(m.partial, data...)
		data = m.partial
	}
	for {
		if len(data) >= lengthHeader {
			if size := binary.BigEndian.Uint32(data); size > MaxSize {
				w.seg.check.Corrupt++
				return w.fail(c, kindContent, fmt.Errorf("a message of %d bytes has come, and none is larger than %d", size, MaxSize))
			}
		}
		whole := w.payload.cut(data, 0)
		if len(whole) == 0 {
			break
		}
		if err := w.receiveMessage(c, whole, now); err != nil || c.state != stateOpen {
			return err
		}
		data = data[len(whole):]
	}
	m.partial = append(m.partial[:0], data...)
	return w.push(c)
}

func (w *worker) receiveMessage(c *conn, whole []byte, now int64) error {
	s, right := w.payload.read(whole)
	if !right {
		w.seg.check.Corrupt++
		return w.fail(c, kindContent, errors.New("a message has come whose checksum is wrong"))
	}
	sender := w.senderTo(c, s.conn)
	if sender < 0 {
		return w.fromElsewhere(c, s.conn)
	}
	w.seg.messages++
	w.seg.check.Checked++
	if err := w.inOrder(c, &c.more.streams[sender], s); err != nil || c.state != stateOpen {
		return err
	}
	planned := s.planned - w.payload.zero
	if w.work == workPush {
		w.seg.operations++
		w.seg.done(kindMain, now, planned, planned)
		return nil
	}
	w.seg.done(kindDelivery, now, planned, planned)
	if s.conn == c.id {
		w.receiveOwn(c, s.seq, now)
	}
	return nil
}

// senderTo is which of those that send to connection c the connection number id is, or -1.
func (w *worker) senderTo(c *conn, id uint32) int {
	switch seats := w.broadcast.seats; {
	case w.work == workPush && id == c.id:
		return 0
	case w.work == workBroadcast && int(id) < len(seats) && seats[id].room == seats[c.id].room:
		return int(seats[id].sender)
	}
	return -1
}

// receiveOwn ends the operation that a sender has back. Those before it whose messages have not come never will.
func (w *worker) receiveOwn(c *conn, seq uint32, now int64) {
	for c.head != c.sent {
		first := c.seq - (c.tail - c.head)
		if seq < first {
			return
		}
		own := c.slot(c.head)
		c.head++
		switch {
		case !own.last:
		case seq > first:
			w.inFlight--
			w.next(c, kindMain, now)
		default:
			w.complete(c, kindMain, own.planned, own.begun)
		}
		if seq == first {
			return
		}
	}
}

// inOrder checks the number of a message. A gap is a loss, until what was missing comes.
func (w *worker) inOrder(c *conn, from *received, s stamp) error {
	check := &w.seg.check
	switch {
	case s.seq == from.next:
		from.next++
		c.more.received++
		return nil
	case s.seq > from.next:
		missing := int64(s.seq - from.next)
		from.missing += missing
		check.Lost += missing
		next := from.next
		from.next = s.seq + 1
		c.more.received += missing + 1
		return w.complain(c, fmt.Errorf("message %d of connection %d came instead of message %d", s.seq+1, s.conn+1, next+1))
	case from.missing > 0:
		from.missing--
		check.Lost--
		check.Reordered++
		return w.complain(c, fmt.Errorf("message %d of connection %d came after message %d", s.seq+1, s.conn+1, from.next))
	}
	check.Duplicated++
	return w.complain(c, fmt.Errorf("message %d of connection %d came again", s.seq+1, s.conn+1))
}

// complain counts a fault after which its connection can go on.
func (w *worker) complain(c *conn, err error) error {
	err = fmt.Errorf("connection %d of %d to %v: %w", c.id+1, w.total, w.remoteOf(c), err)
	if w.opts.FailFast {
		return err
	}
	if len(w.seg.faults) < maxFaults {
		w.seg.faults = append(w.seg.faults, err.Error())
	}
	w.seg.failed(kindContent, 1)
	return nil
}

// delivered reports whether every connection of the worker has what was sent by anybody. It is asked for when this worker sends no more.
func (w *worker) delivered() bool {
	if !w.silent {
		w.silent = true
		w.broadcast.publishing.Add(-1)
	}
	if w.broadcast.publishing.Load() > 0 {
		return false
	}
	for i := range w.conns {
		if c := &w.conns[i]; c.state == stateOpen && c.more.received < w.published(c) {
			return false
		}
	}
	return true
}

// lookAround does what slow readers and visits need from time to time.
func (w *worker) lookAround() error {
	for i := range w.conns {
		c := &w.conns[i]
		switch {
		case c.role == roleSlow && c.state == stateOpen && w.opts.SlowRate > 0 && !w.draining:
			c.more.allowance = min(c.more.allowance+int64(w.opts.SlowRate)*int64(checkPeriod)/int64(time.Second)+1, int64(w.opts.SlowRate))
			if err := w.pullSlow(c); err != nil {
				return err
			}
		case w.work == workChurn:
			if err := w.lookAtVisit(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *worker) dispatchSlow(c *conn, ready poller.Readiness) error {
	if w.draining {
		return w.pullSlow(c)
	}
	if ready&poller.Closed != 0 {
		return w.fail(c, kindClosed, errClosedByServer)
	}
	if ready&poller.Writable != 0 {
		return w.pushSlow(c)
	}
	return nil
}

// slowBytes is what a slow reader has at offset of its stream, as many as there are up to the end of the pattern's period.
func (w *worker) slowBytes(c *conn, offset int64, most int) []byte {
	at := int((offset + int64(c.id)*769) % patternPeriod)
	return w.payload.pattern[at:min(at+most, patternPeriod)]
}

// pushSlow sends until the socket is full.
func (w *worker) pushSlow(c *conn) error {
	for !w.draining {
		sent, errno := w.send(c, w.slowBytes(c, c.more.bytes, patternPeriod))
		switch errno {
		case 0:
			c.more.bytes += int64(sent)
		case syscall.EAGAIN:
			return nil
		case syscall.EINTR:
		default:
			return w.broken(c, "send", errno)
		}
	}
	return nil
}

// pullSlow reads what a slow reader may read, and checks it.
func (w *worker) pullSlow(c *conn) error {
	m := c.more
	for w.draining || m.allowance > 0 {
		most := len(w.in)
		if !w.draining {
			most = int(min(int64(most), m.allowance))
		}
		n, errno := w.recv(c, w.in[:most])
		switch {
		case errno == syscall.EAGAIN:
			return nil
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return w.broken(c, "recv", errno)
		case n == 0:
			return w.fail(c, kindClosed, fmt.Errorf("%w after %d of %d bytes", errClosedByServer, m.back, m.bytes))
		}
		m.allowance -= int64(n)
		for data := w.in[:n]; len(data) > 0; {
			want := w.slowBytes(c, m.back, len(data))
			if m.back+int64(len(want)) > m.bytes || string(data[:len(want)]) != string(want) {
				w.seg.check.Corrupt++
				return w.fail(c, kindContent, fmt.Errorf("what came back after %d bytes is not what was sent", m.back))
			}
			m.back += int64(len(want))
			data = data[len(want):]
		}
		if w.draining && m.back == m.bytes {
			w.seg.check.Checked++
			w.unfinished--
			w.openConns--
			w.discard(c)
			return nil
		}
	}
	return nil
}

// PushOrder is the line by which a connection of WorkloadPush says what it is to be sent: "push CONN RATE SIZES\n".
type PushOrder struct {
	Conn uint32  // goes into the stamps
	Rate float64 // messages a second; 0 means as fast as they are read
	Size Sizes
}

func (p PushOrder) String() string {
	return fmt.Sprintf("push %d %s %v\n", p.Conn, strconv.FormatFloat(p.Rate, 'g', -1, 64), p.Size)
}

// ParsePushOrder reads a line without its newline.
func ParsePushOrder(line string) (p PushOrder, err error) {
	var size string
	if _, err := fmt.Sscanf(line, "push %d %g %s", &p.Conn, &p.Rate, &size); err != nil {
		return p, fmt.Errorf("%q is not push CONN RATE SIZES: %w", line, err)
	}
	if !(p.Rate >= 0 && p.Rate <= 1e9) {
		return p, fmt.Errorf("%v is no rate", p.Rate)
	}
	p.Size, err = ParseSizes(size)
	if err == nil && p.Size.smallest() < lengthHeader+stampSize {
		err = fmt.Errorf("%d bytes have no room for a stamp", p.Size.smallest())
	}
	return p, err
}
