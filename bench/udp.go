package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
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
	ctx     context.Context
	opts    *LoadOptions
	to      netip.AddrPort
	socket  *udpSocket
	peers   []udpPeer
	waits   []*udpPlace // that have to be sent
	now     time.Time
	counted int64
	result  LoadResult
}

type udpPeer struct {
	addr   netip.Addr
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
	if err := errors.Join(o.validate(), o.validateUDP()); err != nil {
		return nil, err
	}
	to, err := resolve(ctx, o.Addr)
	if err != nil {
		return nil, err
	}
	if !to.Addr().Is4() || !to.Addr().IsLoopback() {
		return nil, fmt.Errorf("addr: %v is not in 127.0.0.0/8, where the peers are", to)
	}
	socket, err := openUDPSocket(to, o.Size)
	if err != nil {
		return nil, err
	}
	defer socket.close()
	g := &udpLoad{ctx: ctx, opts: &o, to: to, socket: socket}
	g.prepare()
	if err := g.run(); err != nil {
		return nil, err
	}
	return &g.result, nil
}

func (o *LoadOptions) validateUDP() error {
	if o.Size < udpHeader || o.Size > maxDatagram {
		return fmt.Errorf("size: a datagram has %d to %d bytes, not %d", udpHeader, maxDatagram, o.Size)
	}
	if o.Conns >= maxUDPPeers {
		return fmt.Errorf("conns: %d peers are more than %d", o.Conns, maxUDPPeers-1)
	}
	return nil
}

func (g *udpLoad) prepare() {
	begin := time.Now()
	g.result.Latency = hdrhistogram.New(lowestLatency, highestLatency, latencyDigits)
	all := patterns(g.opts.Size, 1, false, false)
	g.peers = make([]udpPeer, g.opts.Conns)
	for i := range g.peers {
		peer := &g.peers[i]
		peer.addr, peer.places = peerAddr(i), make([]udpPlace, g.opts.Pipeline)
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
	n, err := g.receive()
	if err != nil {
		return swept, err
	}
	// Not while there is more to take: if it was this process that did not run for so long, nothing is lost.
	if n < udpBatch && g.now.Sub(swept) > udpLost/2 {
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

// peerAddr is the address of peer i.
func peerAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 1, byte((i + 1) >> 8), byte(i + 1)})
}

// receive takes what has come, up to udpBatch datagrams, and returns how many that were.
func (g *udpLoad) receive() (int, error) {
	if g.ctx.Err() != nil {
		return 0, context.Cause(g.ctx)
	}
	n, err := g.socket.receive()
	if err != nil {
		return 0, err
	}
	g.now = time.Now()
	for i := range n {
		if err := g.check(g.socket.datagram(i)); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// check compares a datagram with what was sent.
func (g *udpLoad) check(data []byte, from netip.AddrPort, to netip.Addr) error {
	if from != g.to {
		return fmt.Errorf("a datagram from %v, which is not the server", from)
	}
	if len(data) < udpHeader {
		return fmt.Errorf("a datagram of %d bytes, where %d were sent", len(data), g.opts.Size)
	}
	i, place := int(binary.BigEndian.Uint32(data)), int(binary.BigEndian.Uint32(data[4:]))
	if i >= len(g.peers) || to != g.peers[i].addr || place >= len(g.peers[i].places) {
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
			g.socket.set(i, p.data, p.peer.addr)
		}
		if err := g.socket.send(len(batch)); err != nil {
			return err
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
