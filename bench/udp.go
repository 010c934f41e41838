package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
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
// this machine's (RFC 1122, 3.2.1.3), so that it costs little and the server is what is measured. Each has a window of datagrams on their
// way: one that comes back is compared byte by byte, and followed by the next.
type udpLoad struct {
	ctx     context.Context
	opts    *UDPOptions
	to      netip.AddrPort
	socket  *udpSocket
	peers   []udpPeer
	waits   []*udpPlace // that have to be sent
	now     time.Time
	swept   time.Time // when it was last looked for what is lost
	counted int64
	lost    int64
	latency *result.Histogram
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

// UDPOptions describe a load of datagrams. Every field must be set, but for Warmup and OnPhase.
type UDPOptions struct {
	Addr   string        // of the server, in 127.0.0.0/8
	Peers  int           // that send
	Window int           // datagrams of each that are on their way
	Size   int           // bytes of a datagram, of which a header takes 16
	Warmup time.Duration // traffic that is not counted
	Length time.Duration // of traffic that is
	// OnPhase is as in load.Options.
	OnPhase func(load.Phase) error
}

// LoadUDP runs o against a server that sends each datagram back. Every one that comes back is checked, and one that is wrong ends the run; those that do not come back
// within 200 ms are counted.
func LoadUDP(ctx context.Context, o UDPOptions) (*result.Run, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	to, err := netip.ParseAddrPort(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("addr: %w", err)
	}
	if !to.Addr().Is4() || !to.Addr().IsLoopback() {
		return nil, fmt.Errorf("addr: %v is not in 127.0.0.0/8, where the peers are", to)
	}
	socket, err := openUDPSocket(to, o.Size)
	if err != nil {
		return nil, err
	}
	defer socket.close()
	g := &udpLoad{ctx: ctx, opts: &o, to: to, socket: socket, latency: result.NewHistogram()}
	g.prepare()
	return g.run()
}

func (o *UDPOptions) validate() error {
	switch {
	case o.Size < udpHeader || o.Size > maxDatagram:
		return fmt.Errorf("size: a datagram has %d to %d bytes, not %d", udpHeader, maxDatagram, o.Size)
	case o.Peers < 1 || o.Peers >= maxUDPPeers:
		return fmt.Errorf("conns: %d peers are not 1 to %d", o.Peers, maxUDPPeers-1)
	case o.Window < 1:
		return fmt.Errorf("depth: %d is less than 1", o.Window)
	case o.Length <= 0:
		return fmt.Errorf("duration: %v is not positive", o.Length)
	}
	return nil
}

func (g *udpLoad) prepare() {
	g.peers = make([]udpPeer, g.opts.Peers)
	for i := range g.peers {
		peer := &g.peers[i]
		peer.addr, peer.places = peerAddr(i), make([]udpPlace, g.opts.Window)
		for j := range peer.places {
			data := make([]byte, g.opts.Size)
			for at := range data {
				x := at + 29*((i+j)%8)
				data[at] = byte(x*131 + x>>8) // all values, with a period that is no power of two
			}
			binary.BigEndian.PutUint32(data, uint32(i))
			binary.BigEndian.PutUint32(data[4:], uint32(j))
			binary.BigEndian.PutUint64(data[8:], 0)
			peer.places[j] = udpPlace{peer: peer, data: data}
		}
	}
}

// enter tells whoever wants to know that a phase begins.
func (g *udpLoad) enter(name string) error {
	if g.opts.OnPhase == nil {
		return nil
	}
	return g.opts.OnPhase(load.Phase{Name: name})
}

func (g *udpLoad) run() (*result.Run, error) {
	if err := errors.Join(g.enter(load.PhaseConnect), g.enter(load.PhaseIdle)); err != nil {
		return nil, err
	}
	g.now = time.Now()
	for i := range g.peers {
		for j := range g.peers[i].places {
			g.waits = append(g.waits, &g.peers[i].places[j])
		}
	}
	if err := g.send(); err != nil {
		return nil, err
	}
	g.swept = g.now
	if err := g.until(g.now.Add(g.opts.Warmup)); err != nil {
		return nil, err
	}
	if err := g.enter(load.PhaseWindow); err != nil {
		return nil, err
	}
	g.latency.Reset()
	g.counted, g.lost = 0, 0
	begin := time.Now()
	if err := g.until(begin.Add(g.opts.Length)); err != nil {
		return nil, err
	}
	seconds := time.Since(begin).Seconds()
	if err := g.enter(load.PhaseDrain); err != nil {
		return nil, err
	}
	if g.counted == 0 {
		return nil, errors.New("nothing came back within the measured time")
	}
	return g.result(begin, seconds), nil
}

// result is what the measured time came to. The peers need no connections: that they are there has taken no time.
func (g *udpLoad) result(begin time.Time, seconds float64) *result.Run {
	bytes := g.counted * int64(g.opts.Size)
	return &result.Run{
		SchemaVersion: result.SchemaVersion,
		Begin:         begin,
		Windows:       []result.Window{{Seconds: seconds, Operations: g.counted, Messages: g.counted, BytesOut: bytes, BytesIn: bytes}},
		Intervals:     []result.Interval{{Seconds: seconds, Conns: len(g.peers)}},
		Operations:    map[string]*result.Operation{load.WorkloadEcho: {Count: g.counted, Response: g.latency, Service: g.latency.Clone()}},
		Check:         result.Check{Checked: g.counted, Lost: g.lost},
	}
}

// until goes on until a time.
func (g *udpLoad) until(end time.Time) error {
	for g.now.Before(end) {
		if err := g.step(); err != nil {
			return err
		}
	}
	return nil
}

// step takes what has come back and sends what follows it.
func (g *udpLoad) step() error {
	n, err := g.receive()
	if err != nil {
		return err
	}
	// Not while there is more to take: if it was this process that did not run for so long, nothing is lost.
	if n < udpBatch && g.now.Sub(g.swept) > udpLost/2 {
		g.swept = g.now
		g.giveUp()
	}
	return g.send()
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
	g.latency.Record(int64(g.now.Sub(p.sent)))
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
				g.lost++
				g.next(p)
			}
		}
	}
}
