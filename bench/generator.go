package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/strand-net/strand/poller"
	"github.com/strand-net/strand/poller/sys"
)

// generator drives all connections of a run from one goroutine, so that measuring costs as little as a single-threaded
// C program does. Only tick's goroutine is another: it does nothing but wake the first.
type generator struct {
	opts   *LoadOptions
	addr   netip.AddrPort
	kernel sys.Kernel
	poller poller.Poller
	conns  []conn
	ctx    context.Context

	events []poller.Event
	buf    []byte // what arrives: one byte more than a batch, or as much as one read can take
	now    int64  // kernel time at the begin of this iteration, ns

	phase    phase
	inFlight int // batches begun and not complete
	batches  int64
	result   LoadResult
	cpuBegin CPUTime
}

// phase is where a run is. It only goes forward.
type phase uint8

const (
	phaseWarmup phase = iota
	phaseWindow
	phaseDrain // no batch is begun any more
)

func newGenerator(o *LoadOptions, addr netip.AddrPort) (*generator, error) {
	p, err := poller.New(sys.Host)
	if err != nil {
		return nil, err
	}
	g := &generator{
		opts:   o,
		addr:   addr,
		kernel: sys.Host,
		poller: p,
		conns:  make([]conn, o.Conns),
		events: make([]poller.Event, 256),
		buf:    make([]byte, min(o.Size*o.Pipeline+1, sys.MaxTransfer)),
	}
	all := patterns(o.Size, o.Pipeline, o.Lines, o.Framed)
	for i := range g.conns {
		g.conns[i] = conn{fd: -1, batch: all[i%len(all)]}
	}
	g.result.Latency = hdrhistogram.New(lowestLatency, highestLatency, latencyDigits)
	return g, nil
}

func (g *generator) close() {
	g.poller.Close()
	for i := range g.conns {
		if g.conns[i].fd >= 0 {
			g.kernel.Close(g.conns[i].fd)
		}
	}
}

// tick wakes the generator from time to time and when ctx is done, so that its loop sees deadlines although nothing
// arrives. The hot path is spared a timeout that way: a timer that is re-armed for every Wait. The function that it
// returns ends it and waits for that.
func (g *generator) tick(ctx context.Context) func() {
	g.ctx = ctx
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				g.poller.Wake()
				<-done
				return
			case <-ticker.C:
				g.poller.Wake()
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func (g *generator) run() (*LoadResult, error) {
	var err error
	if g.result.RSSBefore, err = g.opts.Process.rss(); err != nil {
		return nil, err
	}
	if err := g.connect(); err != nil {
		return nil, err
	}
	if err := g.settle(); err != nil {
		return nil, err
	}
	if err := g.traffic(); err != nil {
		return nil, err
	}
	return &g.result, nil
}

func (g *generator) settle() (err error) {
	select {
	case <-time.After(g.opts.Settle):
	case <-g.ctx.Done():
		return context.Cause(g.ctx)
	}
	g.result.RSSIdle, err = g.opts.Process.rss()
	return err
}

// traffic is the closed loop, from the first batch to the last.
func (g *generator) traffic() error {
	g.now = g.kernel.Nanotime()
	warm := g.now + int64(g.opts.Warmup)
	end := warm + int64(g.opts.Window)
	checked := g.now
	for i := range g.conns {
		if err := g.begin(i, g.kernel.Nanotime()); err != nil {
			return err
		}
	}
	for {
		n, err := g.poller.Wait(g.events, -1)
		if err != nil {
			return err
		}
		g.now = g.kernel.Nanotime()
		for _, event := range g.events[:n] {
			if err := g.dispatch(int(event.Token), event.Readiness); err != nil {
				return err
			}
		}
		if g.phase == phaseWarmup && g.now >= warm {
			if err := g.beginWindow(); err != nil {
				return err
			}
			end = g.now + int64(g.opts.Window)
		}
		if g.phase == phaseWindow && g.now >= end {
			if err := g.endWindow(end - int64(g.opts.Window)); err != nil {
				return err
			}
		}
		if g.phase == phaseDrain && g.inFlight == 0 {
			return nil
		}
		if g.now-checked >= int64(10*time.Millisecond) {
			checked = g.now
			if err := g.check(); err != nil {
				return err
			}
		}
	}
}

// beginWindow forgets the warm-up.
func (g *generator) beginWindow() (err error) {
	g.phase = phaseWindow
	g.batches, g.result.OverRange = 0, 0
	g.result.Latency.Reset()
	g.cpuBegin, err = g.opts.Process.cpu()
	g.now = g.kernel.Nanotime()
	return err
}

func (g *generator) endWindow(begin int64) error {
	g.phase = phaseDrain
	cpu, err := g.opts.Process.cpu()
	if err != nil {
		return err
	}
	r := &g.result
	r.Elapsed = time.Duration(g.kernel.Nanotime() - begin)
	r.CPU = CPUTime{User: cpu.User - g.cpuBegin.User, System: cpu.System - g.cpuBegin.System}
	r.Messages = g.batches * int64(g.opts.Pipeline)
	r.Drained = g.inFlight
	if r.Messages == 0 {
		return errors.New("nothing came back within the measured time: make it longer")
	}
	r.RSSAfter, err = g.opts.Process.rss()
	return err
}

// check looks for an end from outside and for connections on which nothing has come back for too long.
func (g *generator) check() error {
	if g.ctx.Err() != nil {
		return context.Cause(g.ctx)
	}
	for i := range g.conns {
		c := &g.conns[i]
		if c.busy && g.now-c.heard > int64(g.opts.Stall) {
			return g.fault(i, fmt.Errorf("stalled: nothing came back for %v, %d of %d bytes of the batch before that",
				g.opts.Stall, c.got, len(c.batch)))
		}
	}
	return nil
}

// fault names the connection that an error belongs to.
func (g *generator) fault(i int, err error) error {
	return fmt.Errorf("connection %d of %d to %v: %w", i+1, len(g.conns), g.addr, err)
}
