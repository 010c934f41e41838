package server

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"sync"
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

// coBroadcast sends each message on to every connection.
func (s *coServer) coBroadcast(c *coserver.Conn) error {
	var whole []byte
	for msg, err := range c.Messages() {
		if err != nil {
			return err
		}
		whole = append(binary.BigEndian.AppendUint32(whole[:0], uint32(len(msg))), msg...)
		coserver.Broadcast(s.server.Conns(), whole)
	}
	return nil
}

// netHub sends each message on to every connection: one after the other, so that the slowest has all others wait.
type netHub struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (h *netHub) serve(conn net.Conn) {
	h.mu.Lock()
	h.conns[conn] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.conns, conn)
	}()
	reader := bufio.NewReaderSize(conn, netBuffer)
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
		h.broadcast(whole)
	}
}

func (h *netHub) broadcast(whole []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for conn := range h.conns {
		_, _ = conn.Write(whole) // one that cannot be written to finds out by reading
	}
}
