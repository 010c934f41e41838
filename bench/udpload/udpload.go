// Package udpload is the load of a UDP echo server, which it knows by its address only: many peers, each with several datagrams on their way, every byte of
// which is checked when they come back.
package udpload

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
	// headerSize is what each datagram begins with: the number of the peer, of its place in the peer's window, and how often that place was used before.
	headerSize = 4 + 4 + 8

	// lostAfter is how long a datagram may be on its way before it counts as lost and its place is used anew.
	lostAfter = 200 * time.Millisecond

	// batchSize is how many datagrams the load sends or takes in one system call.
	batchSize = 64

	// bufferSize is what the kernel holds for the load, in bytes, as far as net.core.rmem_max lets it; the load would lose what it does not hold.
	bufferSize = 4 << 20

	maxDatagram = 65_507
	maxPeers    = 1<<16 - 1
)

// Options describe a load. Addr, Peers, Depth, Size and Window must be set.
type Options struct {
	Addr  string // of the server, HOST:PORT, in 127.0.0.0/8
	Peers int    // addresses that datagrams come from
	Depth int    // datagrams of each peer on their way
	Size  int    // bytes of a datagram

	Warmup time.Duration // traffic that is not counted
	Window time.Duration // traffic that is

	// OnBegin and OnEnd are called when the window begins and ends; an error ends the load. nil is nobody.
	OnBegin, OnEnd func() error
}

// Validate reports the first field that cannot be used.
func (o *Options) Validate() error {
	switch {
	case o.Peers < 1 || o.Peers > maxPeers:
		return fmt.Errorf("conns: %d peers, there can be 1 to %d", o.Peers, maxPeers)
	case o.Depth < 1:
		return fmt.Errorf("depth: %d is less than 1", o.Depth)
	case o.Size < headerSize || o.Size > maxDatagram:
		return fmt.Errorf("size: a datagram has %d to 65,507 bytes, not %d", headerSize, o.Size)
	case o.Window <= 0 || o.Warmup < 0:
		return fmt.Errorf("duration: %v is not positive", min(o.Window, o.Warmup))
	}
	return nil
}

// Result is what a load has seen within its window.
type Result struct {
	Datagrams int64         // that came back
	Lost      int64         // that did not, within 200 ms
	Elapsed   time.Duration // how long the window really was

	// Latency from sending to receipt, in nanoseconds, and how many were beyond its range.
	Latency   *hdrhistogram.Histogram
	OverRange int64
}

// Range and precision of latencies.
const (
	lowestLatency  = int64(time.Microsecond)
	highestLatency = int64(time.Minute)
	latencyDigits  = 3
)

// generator drives all peers from one goroutine and one socket: each peer is an address of its own in 127.0.0.0/8, all of which are this
// machine's (RFC 1122, 3.2.1.3), so that it costs little and the server is what is measured. Each has a window of datagrams on their way: one that comes
// back is compared byte by byte, and followed by the next.
type generator struct {
	ctx    context.Context
	opts   *Options
	to     netip.AddrPort
	socket *socket
	peers  []peer
	waits  []*place // that have to be sent
	now    time.Time
	result Result
}

type peer struct {
	addr   netip.Addr
	places []place
}

// place is a place in a window.
type place struct {
	peer *peer
	data []byte
	sent time.Time
}

// Run puts a server under load. Every datagram that comes back is checked, and the first that is wrong ends it.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	to, err := netip.ParseAddrPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("addr: %w", err)
	}
	if !to.Addr().Is4() || !to.Addr().IsLoopback() {
		return nil, fmt.Errorf("addr: %v is not in 127.0.0.0/8, where the peers are", to)
	}
	socket, err := openSocket(to, o.Size)
	if err != nil {
		return nil, err
	}
	defer socket.close()
	g := &generator{ctx: ctx, opts: &o, to: to, socket: socket}
	g.prepare()
	if err := g.run(); err != nil {
		return nil, err
	}
	return &g.result, nil
}

func (g *generator) prepare() {
	g.result.Latency = hdrhistogram.New(lowestLatency, highestLatency, latencyDigits)
	g.peers = make([]peer, g.opts.Peers)
	for i := range g.peers {
		peer := &g.peers[i]
		peer.addr, peer.places = peerAddr(i), make([]place, g.opts.Depth)
		for j := range peer.places {
			data := pattern(g.opts.Size, i+j)
			binary.BigEndian.PutUint32(data, uint32(i))
			binary.BigEndian.PutUint32(data[4:], uint32(j))
			binary.BigEndian.PutUint64(data[8:], 0)
			peer.places[j] = place{peer: peer, data: data}
		}
	}
}

func (g *generator) run() (err error) {
	g.now = time.Now()
	for i := range g.peers {
		for j := range g.peers[i].places {
			g.waits = append(g.waits, &g.peers[i].places[j])
		}
	}
	if err := g.send(); err != nil {
		return err
	}
	swept, err := g.until(g.now.Add(g.opts.Warmup), g.now)
	if err != nil {
		return err
	}
	if err := tell(g.opts.OnBegin); err != nil {
		return err
	}
	g.result.Latency.Reset()
	g.result.Datagrams, g.result.Lost, g.result.OverRange = 0, 0, 0
	begin := time.Now()
	if _, err := g.until(begin.Add(g.opts.Window), swept); err != nil {
		return err
	}
	g.result.Elapsed = time.Since(begin)
	if g.result.Datagrams == 0 {
		return errors.New("nothing came back within the measured time")
	}
	return tell(g.opts.OnEnd)
}

func tell(somebody func() error) error {
	if somebody == nil {
		return nil
	}
	return somebody()
}

// until goes on until a time. swept is when it was last looked for what is lost.
func (g *generator) until(end, swept time.Time) (time.Time, error) {
	for g.now.Before(end) {
		var err error
		if swept, err = g.step(swept); err != nil {
			return swept, err
		}
	}
	return swept, nil
}

// step takes what has come back and sends what follows it.
func (g *generator) step(swept time.Time) (time.Time, error) {
	n, err := g.receive()
	if err != nil {
		return swept, err
	}
	// Not while there is more to take: if it was this process that did not run for so long, nothing is lost.
	if n < batchSize && g.now.Sub(swept) > lostAfter/2 {
		swept = g.now
		g.giveUp()
	}
	return swept, g.send()
}

// peerAddr is the address of peer i.
func peerAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 1, byte((i + 1) >> 8), byte(i + 1)})
}

// receive takes what has come, up to batchSize datagrams, and returns how many that were.
func (g *generator) receive() (int, error) {
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
func (g *generator) check(data []byte, from netip.AddrPort, to netip.Addr) error {
	if from != g.to {
		return fmt.Errorf("a datagram from %v, which is not the server", from)
	}
	if len(data) < headerSize {
		return fmt.Errorf("a datagram of %d bytes, where %d were sent", len(data), g.opts.Size)
	}
	i, place := int(binary.BigEndian.Uint32(data)), int(binary.BigEndian.Uint32(data[4:]))
	if i >= len(g.peers) || to != g.peers[i].addr || place >= len(g.peers[i].places) {
		return fmt.Errorf("a datagram to %v that begins with %x: it is another peer's", to, data[:headerSize])
	}
	p := &g.peers[i].places[place]
	if binary.BigEndian.Uint64(data[8:]) < binary.BigEndian.Uint64(p.data[8:]) {
		return nil // it had been given up
	}
	if !bytes.Equal(data, p.data) {
		return fmt.Errorf("a datagram to %v is not what was sent: %d bytes that begin with %x, want %d that begin with %x",
			to, len(data), data[:headerSize], len(p.data), p.data[:headerSize])
	}
	g.result.Datagrams++
	if g.result.Latency.RecordValue(max(lowestLatency, int64(g.now.Sub(p.sent)))) != nil {
		g.result.OverRange++
	}
	g.next(p)
	return nil
}

// next has the place sent with the next number.
func (g *generator) next(p *place) {
	binary.BigEndian.PutUint64(p.data[8:], binary.BigEndian.Uint64(p.data[8:])+1)
	g.waits = append(g.waits, p)
}

// send sends what waits.
func (g *generator) send() error {
	for begun := 0; begun < len(g.waits); {
		batch := g.waits[begun:min(begun+batchSize, len(g.waits))]
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
func (g *generator) giveUp() {
	for i := range g.peers {
		for j := range g.peers[i].places {
			if p := &g.peers[i].places[j]; g.now.Sub(p.sent) > lostAfter {
				g.result.Lost++
				g.next(p)
			}
		}
	}
}

// pattern is a datagram's content: bytes of all values, with a period that is no power of two, and in several variants, so that whoever mixes
// datagrams up is found out.
func pattern(size, variant int) []byte {
	data := make([]byte, size)
	for i := range data {
		at := i + 29*(variant%8)
		data[i] = byte(at*131 + at>>8)
	}
	return data
}
