package server

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"time"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/coserver"
)

// streamBuffer is what each connection of protocols sink and push has, in bytes.
const streamBuffer = 32 << 10

// sink reads to the end, and then says how much it was: 8 bytes for how many, 4 for their CRC-32C, big endian.
func sink(conn net.Conn) error {
	buf := make([]byte, streamBuffer)
	var count uint64
	var crc uint32
	for {
		n, err := conn.Read(buf)
		count += uint64(n)
		crc = crc32.Update(crc, castagnoli, buf[:n])
		if errors.Is(err, io.EOF) {
			receipt := binary.BigEndian.AppendUint64(nil, count)
			_, err = conn.Write(binary.BigEndian.AppendUint32(receipt, crc))
			return err
		}
		if err != nil {
			return err
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// glance is how long a push without a rate looks for the end of its order, each time that it has sent as many messages as glances.
const (
	glance  = time.Millisecond
	glances = 1 << 12
)

// push reads an order, and sends what it asks for until the client shuts down its sending side.
func push(conn net.Conn) error {
	reader := bufio.NewReaderSize(conn, 512)
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	order, err := load.ParsePushOrder(string(line[:len(line)-1]))
	if err != nil {
		return err
	}
	messages := load.NewMessages(order)
	var out []byte
	begin := load.MachineClock()
	for n := 0; ; {
		now := load.MachineClock()
		due, wait := now, glance
		out = out[:0]
		if order.Rate > 0 {
			due = begin + int64(float64(n)*1e9/order.Rate)
			wait = time.Duration(due - now)
		}
		for due <= now && len(out) < streamBuffer {
			out = messages.Append(out, due)
			if n++; order.Rate == 0 {
				continue
			}
			due = begin + int64(float64(n)*1e9/order.Rate)
			wait = time.Duration(due - now)
		}
		if len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return err
			}
		}
		if order.Rate > 0 && wait <= 0 || order.Rate == 0 && n%glances != 0 {
			continue
		}
		// To wait is to read: the client says nothing, and ends.
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		if _, err := reader.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// coStream has a handler for any connection serve one of coserver.
func coStream(serve func(net.Conn) error) func(*coserver.Conn) error {
	return func(c *coserver.Conn) error {
		if err := serve(c); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	}
}

// coBroadcast sends each message on to every connection, or to those of its room.
func (s *coServer) coBroadcast(c *coserver.Conn) error {
	to := s.server.Conns()
	if header, _ := c.Peek(lengthHeader); namesRoom(header) { // what is wrong is found again by whoever reads
		line, err := c.ReadSlice('\n')
		if err != nil {
			return err
		}
		in, leave, err := s.rooms.enter(line, c, c.Enqueue)
		if err != nil {
			return err
		}
		defer leave()
		to = in.each
	}
	var whole []byte
	for msg, err := range c.Messages() {
		if err != nil {
			return err
		}
		whole = append(binary.BigEndian.AppendUint32(whole[:0], uint32(len(msg))), msg...)
		coserver.Broadcast(to, whole)
	}
	return nil
}

// netHub sends each message on to every connection, or to those of its room: one after the other, so that the slowest has all others wait.
type netHub struct {
	everybody room[net.Conn]
	rooms     rooms[net.Conn]
}

func (h *netHub) serve(conn net.Conn) {
	_ = h.everybody.add(conn, func() error { return nil })
	defer h.everybody.remove(conn)
	to := &h.everybody
	reader := bufio.NewReaderSize(conn, netBuffer)
	if header, _ := reader.Peek(lengthHeader); namesRoom(header) { // what is wrong is found again by whoever reads
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return
		}
		in, leave, err := h.rooms.enter(line, conn, func(answer []byte) error {
			_, err := conn.Write(answer)
			return err
		})
		if err != nil {
			return
		}
		defer leave()
		to = in
	}
	var whole []byte
	for {
		header, err := reader.Peek(lengthHeader)
		if err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(header))
		if n > MaxMessage {
			return
		}
		if cap(whole) < lengthHeader+n {
			whole = make([]byte, lengthHeader+n)
		}
		whole = whole[:lengthHeader+n]
		if _, err := io.ReadFull(reader, whole); err != nil {
			return
		}
		netBroadcast(to, whole)
	}
}

func netBroadcast(to *room[net.Conn], whole []byte) {
	to.mu.Lock()
	defer to.mu.Unlock()
	for conn := range to.members {
		_, _ = conn.Write(whole) // one that cannot be written to finds out by reading
	}
}
