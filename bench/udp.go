package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

const (
	// udpHeader begins each datagram: the number of the peer, of its place in the peer's window, and how often that place was used before.
	udpHeader = 4 + 4 + 8

	// udpLost is how long a datagram may be on its way before it counts as lost and its place is used anew.
	udpLost = 200 * time.Millisecond
)

// udpLoad drives peers of a UDP echo server from one goroutine. Each peer is a socket and has a window of Pipeline datagrams on their way: one
// that comes back is compared byte by byte, and followed by the next.
type udpLoad struct {
	opts    *LoadOptions
	to      netip.AddrPort
	poller  poller.Poller
	peers   []udpPeer
	in      *sys.RecvBatch
	out     *sys.SendBatch
	waits   []*udpPlace // that have to be sent
	now     int64
	late    int64 // came back after they had been given up
	counted int64
	result  LoadResult
}

type udpPeer struct {
	fd     int
	places []udpPlace
}

// udpPlace is a place in a window.
type udpPlace struct {
	data []byte
	sent int64
}

// LoadUDP is Load for a server that sends each datagram back. A datagram of Size bytes must have room for a header of 16. Every one that comes
// back is checked; those that do not, within 200 ms, are counted.
func LoadUDP(ctx context.Context, o LoadOptions) (*LoadResult, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Size < udpHeader || o.Size > sys.MaxDatagram {
		return nil, fmt.Errorf("size: a datagram has %d to %d bytes, not %d", udpHeader, sys.MaxDatagram, o.Size)
	}
	addr, err := resolve(ctx, o.Addr)
	if err != nil {
		return nil, err
	}
	p, err := poller.New(sys.Host)
	if err != nil {
		return nil, err
	}
	g := &udpLoad{opts: &o, to: addr, poller: p, in: sys.NewRecvBatch(max(2, min(o.Pipeline, 64))), out: sys.NewSendBatch(max(2, min(o.Pipeline, 64)))}
	g.result.Latency = hdrhistogram.New(lowestLatency, highestLatency, latencyDigits)
	defer g.close()
	if err := g.open(); err != nil {
		return nil, err
	}
	if err := g.run(ctx); err != nil {
		return nil, err
	}
	return &g.result, nil
}

func (g *udpLoad) close() {
	g.poller.Close()
	for i := range g.peers {
		sys.Host.Close(g.peers[i].fd)
	}
}

func (g *udpLoad) open() error {
	network, local := "udp4", "0.0.0.0:0"
	if g.to.Addr().Is6() {
		network, local = "udp6", "[::]:0"
	}
	begin := time.Now()
	all := patterns(g.opts.Size, 1, false, false)
	for i := range g.opts.Conns {
		fd, _, err := sys.Host.ListenPacket(network, local)
		if err != nil {
			return fmt.Errorf("peer %d of %d: %w", i+1, g.opts.Conns, err)
		}
		peer := udpPeer{fd: fd, places: make([]udpPlace, g.opts.Pipeline)}
		g.peers = append(g.peers, peer)
		for j := range peer.places {
			data := bytes.Clone(all[(i+j)%len(all)])
			binary.BigEndian.PutUint32(data, uint32(i))
			binary.BigEndian.PutUint32(data[4:], uint32(j))
			binary.BigEndian.PutUint64(data[8:], 0)
			peer.places[j].data = data
		}
		if err := g.poller.Add(fd, poller.Token(i), poller.Readable); err != nil {
			return err
		}
	}
	g.result.ConnectTime = time.Since(begin)
	return nil
}

func (g *udpLoad) run(ctx context.Context) (err error) {
	if g.result.RSSBefore, err = g.opts.Process.rss(); err != nil {
		return err
	}
	g.result.RSSIdle = g.result.RSSBefore
	g.now = sys.Host.Nanotime()
	begin := g.now + int64(g.opts.Warmup)
	end, swept := begin+int64(g.opts.Window), g.now
	for i := range g.peers {
		for j := range g.peers[i].places {
			g.waits = append(g.waits, &g.peers[i].places[j])
		}
		if err := g.send(i); err != nil {
			return err
		}
	}
	var cpu CPUTime
	measuring := false
	events := make([]poller.Event, 256)
	for ctx.Err() == nil {
		n, err := g.poller.Wait(events, udpLost)
		if err != nil {
			return err
		}
		g.now = sys.Host.Nanotime()
		for _, event := range events[:n] {
			if err := g.receive(int(event.Token)); err != nil {
				return err
			}
		}
		if g.now-swept > int64(udpLost)/2 {
			swept = g.now
			if err := g.resend(); err != nil {
				return err
			}
		}
		if !measuring && g.now >= begin {
			measuring = true
			if cpu, err = g.opts.Process.cpu(); err != nil {
				return err
			}
			g.result.Latency.Reset()
			g.counted, g.result.Lost, g.result.OverRange = 0, 0, 0
			begin = sys.Host.Nanotime()
			end = begin + int64(g.opts.Window)
		}
		if g.now >= end {
			return g.finish(begin, cpu)
		}
	}
	return context.Cause(ctx)
}

func (g *udpLoad) finish(begin int64, before CPUTime) error {
	after, err := g.opts.Process.cpu()
	if err != nil {
		return err
	}
	r := &g.result
	r.Elapsed = time.Duration(sys.Host.Nanotime() - begin)
	r.CPU = CPUTime{User: after.User - before.User, System: after.System - before.System}
	if r.Messages = g.counted; r.Messages == 0 {
		return errors.New("nothing came back within the measured time")
	}
	r.RSSAfter, err = g.opts.Process.rss()
	return err
}

// receive takes what has come back to peer i, until there is nothing more, and sends what follows it.
func (g *udpLoad) receive(i int) error {
	for {
		n, errno := sys.Host.RecvBatch(g.peers[i].fd, g.in)
		switch errno {
		case 0:
		case syscall.EAGAIN, syscall.EINTR:
			return nil
		default:
			return fmt.Errorf("peer %d: %w", i, errno)
		}
		for _, m := range g.in.Messages[:n] {
			if err := g.check(i, m); err != nil {
				return fmt.Errorf("peer %d: %w", i, err)
			}
		}
		if err := g.send(i); err != nil {
			return err
		}
		if n < len(g.in.Messages) {
			return nil
		}
	}
}

// check compares a datagram with what was sent.
func (g *udpLoad) check(i int, m sys.Message) error {
	if m.Addr != g.to {
		return fmt.Errorf("a datagram from %v, which is not the server", m.Addr)
	}
	if len(m.Data) < udpHeader {
		return fmt.Errorf("a datagram of %d bytes, where %d were sent", len(m.Data), g.opts.Size)
	}
	place := binary.BigEndian.Uint32(m.Data[4:])
	if binary.BigEndian.Uint32(m.Data) != uint32(i) || place >= uint32(len(g.peers[i].places)) {
		return fmt.Errorf("a datagram that begins with %x: it is another peer's", m.Data[:udpHeader])
	}
	p := &g.peers[i].places[place]
	used, want := binary.BigEndian.Uint64(m.Data[8:]), binary.BigEndian.Uint64(p.data[8:])
	if used < want {
		g.late++
		return nil
	}
	if !bytes.Equal(m.Data, p.data) {
		return fmt.Errorf("a datagram is not what was sent: %d bytes that begin with %x, want %d that begin with %x",
			len(m.Data), m.Data[:udpHeader], len(p.data), p.data[:udpHeader])
	}
	g.counted++
	if g.result.Latency.RecordValue(max(lowestLatency, g.now-p.sent)) != nil {
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

// send sends what waits, from peer i.
func (g *udpLoad) send(i int) error {
	for len(g.waits) > 0 {
		g.out.Reset()
		for _, p := range g.waits {
			if g.out.Full() {
				break
			}
			p.sent = g.now
			g.out.Add(sys.Message{Addr: g.to, Data: p.data}, g.to.Addr().Is6())
		}
		count := g.out.Len()
		for sent := 0; sent < count; {
			n, errno := sys.Host.SendBatch(g.peers[i].fd, g.out, sent)
			switch errno {
			case 0:
				sent += n
			case syscall.EINTR:
			case syscall.EAGAIN, syscall.ENOBUFS: // lost, then
				sent = count
			default:
				return fmt.Errorf("peer %d: %w", i, errno)
			}
		}
		g.waits = g.waits[:copy(g.waits, g.waits[count:])]
	}
	return nil
}

// resend gives up what has been on its way for too long.
func (g *udpLoad) resend() error {
	for i := range g.peers {
		for j := range g.peers[i].places {
			if p := &g.peers[i].places[j]; g.now-p.sent > int64(udpLost) {
				g.result.Lost++
				g.next(p)
			}
		}
		if err := g.send(i); err != nil {
			return err
		}
	}
	return nil
}
