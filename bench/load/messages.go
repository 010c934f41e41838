package load

import "math/rand/v2"

// MachineClock is a clock that does not jump and that all processes of the machine share, in nanoseconds: that of the planned times in messages.
func MachineClock() int64 { return machineClock() }

// Messages makes the messages that a server of WorkloadPush sends on one connection. It is for one goroutine.
type Messages struct {
	order   PushOrder
	payload payload
	random  *rand.Rand
	seq     uint32
	message message
	body    bodyOf
}

// NewMessages returns those of an order.
func NewMessages(order PushOrder) *Messages {
	return &Messages{
		order:   order,
		payload: payload{framing: FramingLength, pattern: newPattern(order.Size.largest(), false)},
		random:  rand.New(rand.NewPCG(uint64(order.Conn), 0)),
	}
}

// Append appends the next message, which was planned for then, on MachineClock.
func (m *Messages) Append(dst []byte, planned int64) []byte {
	m.message.size, m.message.planned = m.order.Size.pick(m.random), planned
	m.payload.write(&m.message, m.order.Conn, m.seq, &m.body)
	m.seq++
	begin := len(dst)
	dst = append(dst, make([]byte, m.message.size)...)
	m.payload.fill(dst[begin:], &m.message, 0)
	return dst
}
