package load

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// Protocols that connections of WorkloadEcho can speak instead of an echo: an operation is one request with its reply. ProtocolIperf3 is for WorkloadSink.
const (
	ProtocolRESPPing  = "resp-ping" // PING of Redis
	ProtocolRESPSet   = "resp-set"  // SET of a key of the connection's own, to a value of Size bytes
	ProtocolRESPGet   = "resp-get"  // GET of such a key, which is set when the connection is made
	ProtocolHTTP      = "http"      // GET of Path by HTTP/1.1, which must be answered by 200; nobody knows what the body should be
	ProtocolWebSocket = "websocket" // a binary message of Size bytes, which must come back; the connection is upgraded at Path
	ProtocolMQTTPing  = "mqtt-ping" // PINGREQ of MQTT 3.1.1

	// ProtocolIperf3 sends to a server of iperf3, as a test of its own with a stream for each connection. What the server says at the end that it has received is
	// compared with what was sent.
	ProtocolIperf3 = "iperf3"
)

func protocols() []string {
	return []string{ProtocolRESPPing, ProtocolRESPSet, ProtocolRESPGet, ProtocolHTTP, ProtocolWebSocket, ProtocolMQTTPing, ProtocolIperf3}
}

// protocol is what one connection says, always the same, and hears. A nil hello is none, and a nil welcome none to wait for.
type protocol struct {
	hello   []byte // what is sent first, when the connection is made
	request []byte
	// welcome and reply find the first whole answer in data, to hello and to a request, and check it. A size of 0 says that it is not whole.
	welcome, reply func(data []byte) (size int, err error)
}

// maxAnswer bounds the head of an answer.
const maxAnswer = 64 << 10

// newProtocol is that of connection id.
func newProtocol(o *Options, id uint32) *protocol {
	value := bytes.Repeat([]byte(fmt.Sprintf("connection %d ", id)), o.Size.largest()/13+1)[:o.Size.largest()]
	key := fmt.Appendf(nil, "strand:load:%d", id)
	path := o.Path
	if path == "" {
		path = "/"
	}
	switch o.Protocol {
	case ProtocolRESPPing:
		return &protocol{request: resp([]byte("PING")), reply: exactly("+PONG\r\n")}
	case ProtocolRESPSet:
		return &protocol{request: resp([]byte("SET"), key, value), reply: exactly("+OK\r\n")}
	case ProtocolRESPGet:
		return &protocol{
			hello: resp([]byte("SET"), key, value), welcome: exactly("+OK\r\n"),
			request: resp([]byte("GET"), key), reply: exactly(fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)),
		}
	case ProtocolHTTP:
		return &protocol{request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, o.Addr), reply: httpReply}
	case ProtocolWebSocket:
		return &protocol{
			hello: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
				path, o.Addr, base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "strand load %4d", id%10000))),
			welcome: upgraded, request: webSocketFrame(value, 0x80|byte(id)|1), reply: exactly(string(webSocketFrame(value, 0))),
		}
	case ProtocolMQTTPing:
		connect := []byte("\x10\x00\x00\x04MQTT\x04\x02\x00\x00") // a clean session, no keep-alive
		connect = binary.BigEndian.AppendUint16(connect, uint16(len(key)))
		connect = append(connect, key...)
		connect[1] = byte(len(connect) - 2)
		return &protocol{
			hello: connect, welcome: exactly("\x20\x02\x00\x00"),
			request: []byte("\xc0\x00"), reply: exactly("\xd0\x00"),
		}
	}
	return nil
}

// resp is a command of Redis (RESP2).
func resp(words ...[]byte) []byte {
	command := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, word := range words {
		command = fmt.Appendf(command, "$%d\r\n%s\r\n", len(word), word)
	}
	return command
}

// exactly is for answers that are always the same.
func exactly(want string) func([]byte) (int, error) {
	return func(data []byte) (int, error) {
		n := min(len(data), len(want))
		if string(data[:n]) != want[:n] {
			return 0, fmt.Errorf("%.40q came back, not %.40q", data[:n], want)
		}
		if n < len(want) {
			return 0, nil
		}
		return n, nil
	}
}

var (
	endOfHead = []byte("\r\n\r\n")
	crlf      = []byte("\r\n")
)

// httpReply is one of 200 with its body (RFC 9112).
func httpReply(data []byte) (int, error) {
	status, head, err := httpHead(data)
	if head == 0 || err != nil {
		return 0, err
	}
	if status != 200 {
		return 0, fmt.Errorf("%.60q came back", firstLine(data))
	}
	if length, ok := httpField(data[:head], "content-length"); ok {
		n, err := strconv.Atoi(string(length))
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%.40q is no Content-Length", length)
		}
		if len(data) < head+n {
			return 0, nil
		}
		return head + n, nil
	}
	if coding, ok := httpField(data[:head], "transfer-encoding"); ok && string(coding) == "chunked" {
		return chunked(data, head)
	}
	return 0, errors.New("a reply has come whose length nobody can tell")
}

// httpHead finds the end of an answer's head.
func httpHead(data []byte) (status, size int, err error) {
	end := bytes.Index(data, endOfHead)
	if end < 0 {
		if len(data) > maxAnswer {
			return 0, 0, errors.New("the head of an HTTP reply does not end")
		}
		return 0, 0, nil
	}
	line := firstLine(data)
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return 0, 0, fmt.Errorf("%.40q is no HTTP reply", line)
	}
	for _, digit := range line[9:12] {
		status = 10*status + int(digit-'0')
	}
	return status, end + len(endOfHead), nil
}

func firstLine(data []byte) []byte {
	line, _, _ := bytes.Cut(data, crlf)
	return line
}

// httpField is the value of a field in a head; name is in lower case.
func httpField(head []byte, name string) ([]byte, bool) {
	for len(head) > 0 {
		end := bytes.Index(head, crlf)
		if end < 0 {
			return nil, false
		}
		line := head[:end]
		head = head[end+len(crlf):]
		if len(line) > len(name) && line[len(name)] == ':' && equalFold(line[:len(name)], name) {
			return bytes.TrimSpace(line[len(name)+1:]), true
		}
	}
	return nil, false
}

// equalFold is bytes.EqualFold for a name in lower case, without making a slice of that.
func equalFold(a []byte, lower string) bool {
	for i, c := range a {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// chunked finds the end of a body in chunks, without trailers (RFC 9112, 7.1).
func chunked(data []byte, at int) (int, error) {
	for {
		end := bytes.Index(data[at:], crlf)
		if end < 0 {
			return 0, nil
		}
		text, _, _ := strings.Cut(string(data[at:at+end]), ";")
		size, err := strconv.ParseUint(strings.TrimSpace(text), 16, 31)
		if err != nil {
			return 0, fmt.Errorf("%.20q is no size of a chunk", text)
		}
		at += end + len(crlf) + int(size) + len(crlf)
		if at > len(data) {
			return 0, nil
		}
		if size == 0 {
			return at, nil
		}
	}
}

// upgraded is the answer that opens a WebSocket (RFC 6455, 4.2.2).
func upgraded(data []byte) (int, error) {
	status, head, err := httpHead(data)
	if head == 0 || err != nil {
		return 0, err
	}
	if status != 101 {
		return 0, fmt.Errorf("%.60q came back instead of an upgrade", firstLine(data))
	}
	return head, nil
}

// webSocketFrame is a binary message in one frame (RFC 6455, 5.2): masked, as a client's is, unless mask is 0.
func webSocketFrame(payload []byte, mask byte) []byte {
	frame := []byte{0x82}
	bit := byte(0)
	if mask != 0 {
		bit = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		frame = append(frame, bit|byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, bit|126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, bit|127), uint64(n))
	}
	if mask == 0 {
		return append(frame, payload...)
	}
	key := [4]byte{mask, mask ^ 0x35, mask ^ 0x9a, mask ^ 0x5f}
	frame = append(frame, key[:]...)
	for i, c := range payload {
		frame = append(frame, c^key[i%4])
	}
	return frame
}

// takeReplies checks what a protocol's server says.
func (w *worker) takeReplies(c *conn, data []byte) error {
	m := c.more
	if len(m.partial) > 0 {
		m.partial = append(m.partial, data...)
		data = m.partial
	}
	for len(data) > 0 {
		if c.head == c.sent {
			w.seg.check.Corrupt++
			return w.fail(c, kindContent, fmt.Errorf("0x%02x came back although nothing was due", data[0]))
		}
		size, err := m.protocol.reply(data)
		if err != nil {
			w.seg.check.Corrupt++
			return w.fail(c, kindContent, err)
		}
		if size == 0 {
			break
		}
		data = data[size:]
		request := c.slot(c.head)
		c.head++
		w.seg.messages++
		w.seg.check.Checked++
		if request.last {
			w.complete(c, request.kind, request.planned, request.begun)
		}
	}
	m.partial = append(m.partial[:0], data...)
	return nil
}

// greet says hello on a connection that has just been made, and reports whether there is something to wait for.
func (w *worker) greet(c *conn) (waits bool, err error) {
	if c.more == nil || c.more.protocol == nil || c.more.protocol.hello == nil {
		return false, nil
	}
	n, errno := w.send(c, c.more.protocol.hello)
	if errno != 0 {
		return true, w.unconnected(c, fmt.Errorf("hello: %w", c.callError("send", errno)))
	}
	if n < len(c.more.protocol.hello) {
		return true, w.unconnected(c, errors.New("hello: the socket does not take it"))
	}
	if c.more.protocol.welcome == nil {
		return false, nil
	}
	c.state = stateHello
	return true, nil
}

// hear takes what comes in answer to hello.
func (w *worker) hear(c *conn) error {
	if c.peer != nil {
		return w.hearDatagram(c)
	}
	n, errno := w.recv(c, w.in)
	switch {
	case errno != 0 && errno != syscall.EAGAIN && errno != syscall.EINTR:
		return w.unconnected(c, fmt.Errorf("hello: %w", c.callError("recv", errno)))
	case errno != 0:
		return nil
	case n == 0:
		return w.unconnected(c, fmt.Errorf("hello: %w", errClosedByServer))
	}
	m := c.more
	m.partial = append(m.partial, w.in[:n]...)
	size, err := m.protocol.welcome(m.partial)
	switch {
	case err != nil:
		return w.unconnected(c, fmt.Errorf("hello: %w", err))
	case size == 0:
		return nil
	case size < len(m.partial):
		return w.unconnected(c, fmt.Errorf("hello: %d bytes came back although nothing was due", len(m.partial)-size))
	}
	m.partial = m.partial[:0]
	w.opened(c)
	return nil
}
