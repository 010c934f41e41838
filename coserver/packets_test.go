package coserver_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/frame"
)

var packets = flag.Int("packets", 1000, "random packets that TestRandomPackets sends by each framing; 10,000 are a gigabyte each")

const smallestPacket, largestPacket = 100, 200_000

// packetKind is a framing, and the bounds of the random bytes that it makes a packet of: what frames it, if the framing is part of it.
type packetKind struct {
	framing frame.Framing
	binary  bool // it takes any bytes
	head    func(body []byte) []byte
	tail    string
	size    int // of all packets; 0: random
}

func packetKinds() map[string]packetKind {
	bigEndian := func(body []byte) []byte { return binary.BigEndian.AppendUint32(nil, uint32(len(body))) }
	return map[string]packetKind{
		// package_length_type N, package_body_offset 4, as swoole_server_coro/length_1 has it
		"length kept":    {framing: frame.LengthField{Size: 4, Keep: true}, binary: true, head: bigEndian},
		"length":         {framing: frame.LengthField{Size: 4}, binary: true},
		"length little":  {framing: frame.LengthField{Size: 8, Order: binary.LittleEndian}, binary: true},
		"func":           {framing: frame.Func{Length: lengthOf4}, binary: true, head: bigEndian},
		"delimiter":      {framing: frame.Delimiter{Delim: "\r\n\r\n"}},
		"delimiter kept": {framing: frame.Delimiter{Delim: "#", Keep: true}, tail: "#"},
		"line":           {framing: frame.Line{}},
		"line crlf":      {framing: frame.Line{CRLF: true}},
		"fixed":          {framing: frame.Fixed{Size: 10_000}, binary: true, size: 10_000},
		"uvarint":        {framing: frame.Uvarint{}, binary: true},
		"mqtt": {framing: frame.MQTT{}, binary: true, head: func(body []byte) []byte {
			return binary.AppendUvarint([]byte{0x30}, uint64(len(body)))
		}},
	}
}

func lengthOf4(data []byte) (int, error) {
	if len(data) < 4 {
		return 0, nil
	}
	return 4 + int(binary.BigEndian.Uint32(data)), nil
}

// packetSource makes the same packets whenever it has the same seed.
type packetSource struct {
	packetKind
	rand  *rand.Rand
	noise []byte
	buf   []byte
	even  bool // all sizes are as likely as each other; otherwise all magnitudes are
}

func newPacketSource(kind packetKind, noise []byte, even bool) *packetSource {
	return &packetSource{packetKind: kind, rand: rand.New(rand.NewPCG(4711, 1)), noise: noise, even: even}
}

func (s *packetSource) next() []byte {
	size := s.size
	switch {
	case size > 0:
	case s.even:
		size = smallestPacket + s.rand.IntN(largestPacket-smallestPacket+1)
	default:
		size = int(smallestPacket * math.Pow(float64(largestPacket)/smallestPacket, s.rand.Float64()))
	}
	at := s.rand.IntN(len(s.noise) - size)
	body := s.noise[at : at+size]
	s.buf = s.buf[:0]
	if s.head != nil {
		s.buf = append(s.buf, s.head(body)...)
	}
	s.buf = append(append(s.buf, body...), s.tail...)
	return s.buf
}

// packetNoise is what packets are cut from: any bytes, or letters.
func packetNoise(binary bool) []byte {
	r := rand.New(rand.NewPCG(4711, 2))
	noise := make([]byte, 1<<20)
	for i := range noise {
		if noise[i] = byte(r.Uint32()); !binary {
			noise[i] = 'a' + noise[i]%26
		}
	}
	return noise
}

// swoole_server_coro/length_1, swoole_server/length/00 to 03 and swoole_server/eof_protocol: random packets of 100 B to 200 KB, by every
// framing, in segments of any size, come whole, once and in order, and a line of totals goes back. -packets 10000 is the whole of it.
func TestRandomPackets(t *testing.T) {
	noises := map[bool][]byte{true: packetNoise(true), false: packetNoise(false)}
	for name, kind := range packetKinds() {
		t.Run(name, func(t *testing.T) {
			even := *packets >= 10_000
			noise := noises[kind.binary]
			addr := start(t, &coserver.Server{Framing: kind.framing, OnError: func(_ *coserver.Conn, err error) { t.Error(err) },
				Handler: func(c *coserver.Conn) error {
					want, count, bytesOf := newPacketSource(kind, noise, even), 0, 0
					for msg, err := range c.Messages() {
						if err != nil {
							return err
						}
						if !bytes.Equal(want.next(), msg) {
							return fmt.Errorf("packet %d of %d bytes is not what was sent", count, len(msg))
						}
						count, bytesOf = count+1, bytesOf+len(msg)
					}
					_, err := fmt.Fprintf(c, "%d packets, %d bytes\n", count, bytesOf)
					return err
				}}, "tcp")
			conn := dial(t, addr)
			all, cuts := newPacketSource(kind, noise, even), rand.New(rand.NewPCG(4711, 3))
			total := 0
			var pending []byte
			for range *packets {
				msg := all.next()
				total += len(msg)
				framed, err := frame.Append(pending, kind.framing, msg)
				require.NoError(t, err)
				n := cuts.IntN(len(framed) + 1)
				_, err = conn.Write(framed[:n])
				require.NoError(t, err)
				pending = append(pending[:0], framed[n:]...)
			}
			_, err := conn.Write(pending)
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			totals, err := io.ReadAll(conn)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%d packets, %d bytes\n", *packets, total), string(totals))
		})
	}
}

// Whatever comes, in whatever pieces, a Conn makes the same messages of it as a frame.Reader does.
func FuzzRecv(f *testing.F) {
	framings := []frame.Framing{
		frame.LengthField{Size: 1}, frame.LengthField{Size: 2, Adjust: -2, Keep: true}, frame.LengthField{Size: 4, Order: binary.LittleEndian},
		frame.Func{Length: lengthOf4}, frame.Delimiter{Delim: "aba"}, frame.Delimiter{Delim: "\r\n\r\n", Keep: true, Max: 100}, frame.Line{},
		frame.Line{Max: 50, Keep: true}, frame.Fixed{Size: 7}, frame.Uvarint{}, frame.MQTT{},
	}
	f.Add([]byte("\x05hello\x00\x03abc"), []byte{1, 2, 3}, byte(0))
	f.Add([]byte("\x00\x07hello\x00\x02"), []byte{1}, byte(1))
	f.Add(bytes.Repeat([]byte("one\r\n\r\ntwo\nababa"), 100), []byte{200, 1}, byte(4))
	f.Add(bytes.Repeat([]byte("one\r\n\r\ntwo\nababa"), 100), []byte{20, 1}, byte(6))
	f.Add([]byte("\x30\x02ab\xc0\x00\x30\x80\x01"), []byte{0}, byte(10))
	type outcome struct {
		messages [][]byte
		err      error
	}
	outcomes, wanted := make(chan outcome, 1), make(chan frame.Framing, 1)
	collect := func(recv func() ([]byte, error)) (o outcome) {
		for o.err == nil {
			var msg []byte
			msg, o.err = recv()
			o.messages = append(o.messages, msg)
		}
		for _, kind := range []error{frame.ErrTooLarge, frame.ErrMalformed} {
			if errors.Is(o.err, kind) {
				o.err = kind
			}
		}
		return o
	}
	server := &coserver.Server{Handler: func(c *coserver.Conn) error {
		if err := c.SetFraming(<-wanted); err != nil {
			return err
		}
		outcomes <- collect(c.Recv)
		_, _ = io.Copy(io.Discard, readerOnly{c})
		return nil
	}}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	f.Cleanup(func() {
		server.Close()
		<-served
	})
	f.Fuzz(func(t *testing.T, stream, cuts []byte, which byte) {
		framing := framings[int(which)%len(framings)]
		c := dial(t, ln.Addr())
		defer c.Close()
		wanted <- framing
		for rest, i := stream, 0; len(rest) > 0; i++ {
			n := len(rest)
			if i < len(cuts) && i < 100 {
				n = min(n, 1+int(cuts[i]))
			}
			_, err := c.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, c.(*net.TCPConn).CloseWrite())
		reader, err := frame.NewReader(bytes.NewReader(stream), framing)
		require.NoError(t, err)
		require.Equal(t, collect(reader.Recv), receive(t, outcomes))
	})
}
