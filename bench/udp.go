package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/net/ipv4"
)

const (
	// udpHeader begins each datagram: the number of the peer, of its place in the peer's window, and how often that place was used before.
	udpHeader = 4 + 4 + 8

	// udpLost is how long a datagram may be on its way before it counts as lost and its place is used anew.
	udpLost = 200 * time.Millisecond

	// udpBatch is how many datagrams the load sends or takes in one system call.
	udpBatch = 64

	// udpBuffer is what the kernel holds for the load, in bytes, as far as net.core.rmem_max lets it; the load would lose what it does not hold.
	udpBuffer = 4 << 20

	maxDatagram = 65_507
	maxUDPPeers = 1 << 16
)

// udpLoad drives peers of a UDP echo server from one goroutine and one socket: each peer is an address of its own in 127.0.0.0/8, all of which are
// this machine's (RFC 1122, 3.2.1.3), so that it costs little and the server is what is measured. Each has a window of Pipeline datagrams on their
// way: one that comes back is compared byte by byte, and followed by the next.
type udpLoad struct {
	opts    *LoadOptions
	to      *net.UDPAddr
	socket  *net.UDPConn
	conn    *ipv4.PacketConn
	peers   []udpPeer
	in, out []ipv4.Message
	waits   []*udpPlace // that have to be sent
	now     time.Time
	counted int64
	result  LoadResult
}

type udpPeer struct {
	source []byte // the control message that makes its address the sender's
	places []udpPlace
}

// udpPlace is a place in a window.
type udpPlace struct {
	peer *udpPeer
	data []byte
	sent time.Time
}

// LoadUDP is Load for a server that sends each datagram back, at an address in 127.0.0.0/8. A datagram of Size bytes must have room for a header of 16. Every
// one that comes back is checked; those that do not, within 200 ms, are counted.
func LoadUDP(ctx context.Context, o LoadOptions) (*LoadResult, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Size < udpHeader || o.Size > maxDatagram {
		return nil, fmt.Errorf("size: a datagram has %d to %d bytes, not %d", udpHeader, maxDatagram, o.Size)
	}
	if o.Conns >= maxUDPPeers {
		return nil, fmt.Errorf("conns: %d peers are more than %d", o.Conns, maxUDPPeers-1)
	}
	to, err := resolve(ctx, o.Addr)
	if err != nil {
		return nil, err
	}
	if !to.Addr().Is4() || !to.Addr().IsLoopback() {
		return nil, fmt.Errorf("addr: %v is not in 127.0.0.0/8, where the peers are", to)
	}
	socket, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { socket.Close() })()
	g := &udpLoad{opts: &o, to: net.UDPAddrFromAddrPort(to), socket: socket, conn: ipv4.NewPacketConn(socket)}
	if err := errors.Join(socket.SetReadBuffer(udpBuffer), socket.SetWriteBuffer(udpBuffer), g.conn.SetControlMessage(ipv4.FlagDst, true)); err != nil {
		return nil, err
	}
	g.prepare()
	err = g.run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &g.result, nil
}

func (g *udpLoad) prepare() {
	begin := time.Now()
	g.result.Latency = hdrhistogram.New(lowestLatency, highestLatency, latencyDigits)
	g.in, g.out = make([]ipv4.Message, udpBatch), make([]ipv4.Message, udpBatch)
	for i := range g.in {
		g.in[i].Buffers, g.in[i].OOB = [][]byte{make([]byte, g.opts.Size+1)}, ipv4.NewControlMessage(ipv4.FlagDst)
		g.out[i].Buffers, g.out[i].Addr = make([][]byte, 1), g.to
	}
	all := patterns(g.opts.Size, 1, false, false)
	g.peers = make([]udpPeer, g.opts.Conns)
	for i := range g.peers {
		peer := &g.peers[i]
		control := ipv4.ControlMessage{Src: net.IPv4(127, 1, byte((i+1)>>8), byte(i+1))}
		peer.source, peer.places = control.Marshal(), make([]udpPlace, g.opts.Pipeline)
		for j := range peer.places {
			data := bytes.Clone(all[(i+j)%len(all)])
			binary.BigEndian.PutUint32(data, uint32(i))
			binary.BigEndian.PutUint32(data[4:], uint32(j))
			binary.BigEndian.PutUint64(data[8:], 0)
			peer.places[j] = udpPlace{peer: peer, data: data}
		}
	}
	g.result.ConnectTime = max(1, time.Since(begin))
}

func (g *udpLoad) run() (err error) {
	if g.result.RSSBefore, err = g.opts.Process.rss(); err != nil {
		return err
	}
	g.result.RSSIdle = g.result.RSSBefore
	g.now = time.Now()
	for i := range g.peers {
		for j := range g.peers[i].places {
			g.waits = append(g.waits, &g.peers[i].places[j])
		}
	}
	if err := g.send(); err != nil {
		return err
	}
	begin, swept := g.now.Add(g.opts.Warmup), g.now
	for g.now.Before(begin) {
		if swept, err = g.step(swept); err != nil {
			return err
		}
	}
	cpu, err := g.opts.Process.cpu()
	if err != nil {
		return err
	}
	g.result.Latency.Reset()
	g.counted, g.result.Lost, g.result.OverRange = 0, 0, 0
	begin = time.Now()
	for end := begin.Add(g.opts.Window); g.now.Before(end); {
		if swept, err = g.step(swept); err != nil {
			return err
		}
	}
	return g.finish(begin, cpu)
}

// step takes what has come back and sends what follows it.
func (g *udpLoad) step(swept time.Time) (time.Time, error) {
	if err := g.receive(); err != nil {
		return swept, err
	}
	if g.now.Sub(swept) > udpLost/2 {
		swept = g.now
		g.giveUp()
	}
	return swept, g.send()
}

func (g *udpLoad) finish(begin time.Time, before CPUTime) error {
	after, err := g.opts.Process.cpu()
	if err != nil {
		return err
	}
	r := &g.result
	r.Elapsed = time.Since(begin)
	r.CPU = CPUTime{User: after.User - before.User, System: after.System - before.System}
	if r.Messages = g.counted; r.Messages == 0 {
		return errors.New("nothing came back within the measured time")
	}
	r.RSSAfter, err = g.opts.Process.rss()
	return err
}

func (g *udpLoad) receive() error {
	if err := g.socket.SetReadDeadline(g.now.Add(udpLost)); err != nil {
		return err
	}
	n, err := g.conn.ReadBatch(g.in, 0)
	g.now = time.Now()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range g.in[:n] {
		if err := g.check(&g.in[i]); err != nil {
			return err
		}
	}
	return nil
}

// check compares a datagram with what was sent.
func (g *udpLoad) check(m *ipv4.Message) error {
	data := m.Buffers[0][:m.N]
	if from, ok := m.Addr.(*net.UDPAddr); !ok || from.Port != g.to.Port || !from.IP.Equal(g.to.IP) {
		return fmt.Errorf("a datagram from %v, which is not the server", m.Addr)
	}
	if len(data) < udpHeader {
		return fmt.Errorf("a datagram of %d bytes, where %d were sent", len(data), g.opts.Size)
	}
	var control ipv4.ControlMessage
	if err := control.Parse(m.OOB[:m.NN]); err != nil {
		return err
	}
	to := control.Dst.To4()
	i, place := int(binary.BigEndian.Uint32(data)), int(binary.BigEndian.Uint32(data[4:]))
	if to == nil || i != int(to[2])<<8+int(to[3])-1 || i >= len(g.peers) || place >= len(g.peers[i].places) {
		return fmt.Errorf("a datagram to %v that begins with %x: it is another peer's", to, data[:udpHeader])
	}
	p := &g.peers[i].places[place]
	if binary.BigEndian.Uint64(data[8:]) < binary.BigEndian.Uint64(p.data[8:]) {
		return nil // it had been given up
	}
	if !bytes.Equal(data, p.data) {
		return fmt.Errorf("a datagram to %v is not what was sent: %d bytes that begin with %x, want %d that begin with %x",
			to, len(data), data[:udpHeader], len(p.data), p.data[:udpHeader])
	}
	g.counted++
	if g.result.Latency.RecordValue(max(lowestLatency, int64(g.now.Sub(p.sent)))) != nil {
		g.result.OverRange++
	}
	g.next(p)
	return nil
}

// next has the place sent with the next number.
func (g *udpLoad) next(p *udpPlace) {
	binary.BigEndian.PutUint64(p.data[8:], binary.BigEndian.Uint64(p.data[8:])+1)
	g.waits = append(g.waits, p)
}

// send sends what waits.
func (g *udpLoad) send() error {
	for begun := 0; begun < len(g.waits); {
		batch := g.waits[begun:min(begun+udpBatch, len(g.waits))]
		begun += len(batch)
		for i, p := range batch {
			p.sent = g.now
			g.out[i].Buffers[0], g.out[i].OOB = p.data, p.peer.source
		}
		for sent := 0; sent < len(batch); {
			n, err := g.conn.WriteBatch(g.out[sent:len(batch)], 0)
			if err != nil {
				return err
			}
			sent += n
		}
	}
	g.waits = g.waits[:0]
	return nil
}

// giveUp counts what has been on its way for too long, and has its places used anew.
func (g *udpLoad) giveUp() {
	for i := range g.peers {
		for j := range g.peers[i].places {
			if p := &g.peers[i].places[j]; g.now.Sub(p.sent) > udpLost {
				g.result.Lost++
				g.next(p)
			}
		}
	}
}
