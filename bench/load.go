// Package bench measures TCP servers: it loads them, checks every byte that comes back, and compares the engines of
// strand with package net, each in a process of its own. It knows the servers by their addresses only.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The range of the latency histograms, in nanoseconds, and its precision. What took longer is counted apart.
const (
	lowestLatency  = int64(time.Microsecond)
	highestLatency = int64(time.Minute)
	latencyDigits  = 3
)

// maxBatch bounds SIZE x PIPELINE, in bytes.
const maxBatch = 1 << 20

// LoadOptions describe one closed-loop run: each connection keeps one batch of messages in flight.
type LoadOptions struct {
	Addr     string // of the server, HOST:PORT
	Conns    int    // connections, all of them active
	Size     int    // bytes of a message; of a line, with its newline
	Pipeline int    // messages of a batch
	Lines    bool   // messages are lines
	Framed   bool   // messages begin with 4 bytes, big endian, that say how many follow

	Settle time.Duration // pause between connecting and traffic
	Warmup time.Duration // traffic that is not counted
	Window time.Duration // traffic that is

	// Stall is how long a connection may wait for a byte before the run fails; 0 means 5 s. It also bounds the
	// connect phase and the drain at the end.
	Stall time.Duration

	// Process is the server's, to be watched from outside; nil if it is not.
	Process *Process
}

func (o *LoadOptions) validate() error {
	switch {
	case o.Conns < 1:
		return fmt.Errorf("conns: %d is less than 1", o.Conns)
	case o.Size < 1:
		return fmt.Errorf("size: %d is less than 1", o.Size)
	case o.Lines && o.Size < 2:
		return errors.New("size: a line has at least 2 bytes, its newline included")
	case o.Framed && o.Size < frameHeader:
		return fmt.Errorf("size: a message has at least the %d bytes of its header", frameHeader)
	case o.Framed && o.Lines:
		return errors.New("framed: messages are lines or have a header, not both")
	case o.Pipeline < 1:
		return fmt.Errorf("pipeline: %d is less than 1", o.Pipeline)
	case o.Size > maxBatch/o.Pipeline:
		return fmt.Errorf("size: a batch of %d messages of %d bytes is over %d bytes", o.Pipeline, o.Size, maxBatch)
	case o.Window <= 0:
		return fmt.Errorf("duration: %v is not positive", o.Window)
	case o.Warmup < 0 || o.Settle < 0 || o.Stall < 0:
		return errors.New("settle, warmup and stall: a negative time")
	}
	return nil
}

// LoadResult is what one run has measured.
type LoadResult struct {
	Messages int64         // that came back within the window
	Elapsed  time.Duration // how long the window really was
	Drained  int           // batches in flight at its end: waited for, their latency counted, their messages not

	// Latency of batches, from the begin of the first byte's sending to the last byte's arrival, in nanoseconds.
	Latency   *hdrhistogram.Histogram
	OverRange int64 // batches slower than the histogram's range
	Lost      int64 // datagrams that did not come back, of LoadUDP

	ConnectTime time.Duration // of all connections together
	CPU         CPUTime       // of the server, within the window

	// Resident memory of the server, in bytes: before the first connection, connected but idle, after the traffic.
	RSSBefore, RSSIdle, RSSAfter int64
}

// Load runs o against a server. Any wrong byte, early close or stall fails the run, with an error that names the
// connection. It also fails when ctx is done, with the cause of ctx.
func Load(ctx context.Context, o LoadOptions) (*LoadResult, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Stall == 0 {
		o.Stall = 5 * time.Second
	}
	addr, err := resolve(ctx, o.Addr)
	if err != nil {
		return nil, err
	}
	g, err := newGenerator(&o, addr)
	if err != nil {
		return nil, err
	}
	defer g.close()
	stop := g.tick(ctx)
	defer stop()
	return g.run()
}

func resolve(ctx context.Context, hostport string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(number)), nil
}
