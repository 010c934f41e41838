//go:build !linux

package sys

// recvHeaders is for systems that take many messages in one call.
type recvHeaders struct{}

func (*recvHeaders) prepare(*RecvBatch) {}

// sendHeaders are the messages themselves.
type sendHeaders struct{ messages []Message }

func (h *sendHeaders) prepare(messages int) { h.messages = make([]Message, messages) }

func (h *sendHeaders) capacity() int { return len(h.messages) }

// Add adds a message, which must stay as it is until it is sent. The batch must not be full.
func (b *SendBatch) Add(m Message, _ bool) {
	b.headers.messages[b.count] = m
	b.count++
}

// SetData changes what message i is to send.
func (b *SendBatch) SetData(i int, data []byte, segment int) {
	m := &b.headers.messages[i]
	m.Data, m.Segment = data, segment
}

func (b *SendBatch) message(i int) Message { return b.headers.messages[i] }
