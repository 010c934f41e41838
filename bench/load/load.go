// Package load puts a service of TCP, UDP or a unix socket under load and measures what its clients see: it checks every byte that comes back, counts latency from
// when an operation was planned, and says so when the figures are limited by itself. It knows the service by its address only.
package load

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/poller/sys"
)

// Run runs o against a server. What goes wrong on connections is in the result, with what was measured on the others; an error is what ends a run:
// options that cannot be used, a server to which no connection could be made or from which no answer has come, with FailFast the first fault
// of any connection, ErrStopped, and the cause of ctx when that is done.
func Run(ctx context.Context, o Options) (*result.Run, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &run{opts: o.withDefaults(), traffic: make(chan struct{})}
	r.part()
	var err error
	if r.remotes, err = resolve(ctx, r.opts.Network, r.opts.Addr); err != nil {
		return nil, fmt.Errorf("addr: %w", err)
	}
	if r.sources, err = sources(&r.opts, r.remotes); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if err := r.opts.CheckDescriptors(); err != nil {
		return nil, err
	}
	if r.opts.TLS != nil {
		if r.security, err = r.opts.TLS.config(&r.opts); err != nil {
			return nil, err
		}
	}
	if r.opts.Protocol == ProtocolIperf3 {
		r.iperf = newIperfTest(ctx, &r.opts, r.remotes[0])
		defer r.iperf.close() // after the connections
	}
	ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	r.ctx = ctx
	defer r.heed()()
	defer r.close()
	if err := r.prepare(); err != nil {
		return nil, err
	}
	return r.measure()
}

// run is the part of a run that is not on the way of any message.
type run struct {
	opts     Options
	local    Options // what this shard has of them
	first    int     // number of its first connection
	remotes  []net.Addr
	sources  []netip.Addr
	security *tls.Config // or nil
	steal    result.StealWatch
	ctx      context.Context
	cancel   context.CancelCauseFunc
	workers  []*worker
	all      sync.WaitGroup

	connected chan struct{}      // one for each worker
	traffic   chan struct{}      // closed when traffic can be planned
	segments  chan *segment      // of all workers
	along     *timeline          // set before traffic is closed
	timeline  []cut              // as it is
	windows   int                // that it has
	begin     int64              // kernel time of the first window's begin
	beginTime time.Time          // the same
	end       int64              // of the last window
	stops     chan time.Time     // when it is to end before its time
	gathered  map[int][]*segment // by index, those that are not complete

	kinds     []kind
	broadcast *broadcast
	iperf     *iperfTest // or nil
	result    *result.Run
	total     segment   // of all windows and the drain
	spans     []int64   // begins of what is judged by itself, and the end: each stage, or all windows together; kernel time
	waited    [][]int64 // by span, and worker's number
	window    struct {  // at hand
		number  int
		latency *result.Histogram
	}
	late struct {
		span  int   // at hand
		most  int64 // by how much the generator was late in the span where that was worst, at the 99th percentile, ns
		worst int
	}
}

func (r *run) close() {
	r.cancel(errors.New("over")) // for those that still wait
	r.all.Wait()
	for _, w := range r.workers {
		w.close()
	}
}

// part finds what this shard has of the run.
func (r *run) part() {
	o := &r.opts
	r.local = *o
	of, at := o.Shard.Of, o.Shard.Index-1
	if of == 1 {
		return
	}
	// Active, idle and slow connections are each shared out, so that all shards have some.
	idle := o.Conns - o.Active - o.Slow
	l := &r.local
	l.Active, l.Slow = share(o.Active, at, of), share(o.Slow, at, of)
	l.Conns = l.Active + l.Slow + share(idle, at, of)
	for before := range at {
		r.first += share(o.Active, before, of) + share(o.Slow, before, of) + share(idle, before, of)
	}
	l.Rate = o.Rate * float64(l.Active) / float64(o.Active)
	l.Connecting = max(1, share(o.Connecting, at, of))
	if o.ConnectRate > 0 {
		l.ConnectRate = max(1, share(o.ConnectRate, at, of))
	}
}

// prepare makes the workers, each with its part of connections and rate.
func (r *run) prepare() error {
	o := &r.local
	r.connected = make(chan struct{}, o.Threads)
	r.segments = make(chan *segment, 64*o.Threads)
	r.gathered = make(map[int][]*segment)
	r.kinds = o.kinds()
	r.total = *newSegment(r.kinds)
	r.window.latency = result.NewHistogram()
	r.broadcast = newBroadcast(o)
	first := r.first
	for i := range o.Threads {
		w, err := newWorker(r.ctx, o)
		if err != nil {
			return err
		}
		r.workers = append(r.workers, w)
		w.remotes, w.sources, w.security, w.total = r.remotes, r.sources, r.security, r.opts.Conns
		active, slow := share(o.Active, i, o.Threads), share(o.Slow, i, o.Threads)
		idle := share(o.Conns-o.Active-o.Slow, i, o.Threads)
		n := active + idle + slow
		w.number, w.segments, w.broadcast = i, r.segments, r.broadcast
		if r.iperf != nil {
			w.cookie = r.iperf.cookie
		}
		w.random = rand.New(rand.NewPCG(o.Seed, uint64(o.Shard.Index-1)<<32|uint64(i)))
		w.conns = make([]conn, n)
		ring, most := 1, o.Depth*o.Batch
		if w.datagrams != nil {
			most = o.Batch // it grows
		}
		for ring < most {
			ring *= 2
		}
		rings := make([]message, n*ring)
		for j := range w.conns {
			c := &w.conns[j]
			*c = conn{fd: -1, id: uint32(first + j), ring: rings[j*ring : (j+1)*ring : (j+1)*ring]}
			if w.datagrams != nil {
				c.peer = new(peer)
				if err := w.shareSocket(c, j); err != nil {
					return err
				}
			}
			switch {
			case j >= active+idle:
				c.role = roleSlow
			case j >= active:
				c.role = roleIdle
			}
			w.equip(c)
		}
		first += n
		w.connecting.most = max(1, share(o.Connecting, i, o.Threads))
		w.connecting.wait = int64(o.Stall)
		if o.Stall == 0 {
			w.connecting.wait = int64(defaultConnectWait)
		}
		if o.ConnectRate > 0 {
			w.connecting.gap = int64(1e9 * float64(o.Conns) / (float64(o.ConnectRate) * float64(n)))
		}
		if w.open {
			phase := (float64(o.Shard.Index-1) + float64(i)/float64(o.Threads)) / float64(o.Shard.Of)
			if len(o.Stages) > 0 {
				w.plans = append(w.plans, newStagedPlan(o.Pace, newCurve(o), active, r.opts.Active, phase, w.random))
			} else {
				w.plans = append(w.plans, newPlan(o.Pace, o.Rate*float64(active)/float64(o.Active), active, phase, w.random))
			}
		}
		if o.Heartbeat > 0 && idle > 0 {
			beats := newPlan(PaceUniform, float64(idle)/o.Heartbeat.Seconds(), idle, 0, w.random)
			beats.first, beats.kind = active, kindHeartbeat
			w.plans = append(w.plans, beats)
		}
	}
	return nil
}

// share is the i-th of n parts of a whole: they differ by 1 at most, and the first are the larger ones.
func share(whole, i, n int) int {
	part := whole / n
	if i < whole%n {
		part++
	}
	return part
}

// measure goes through the phases.
func (r *run) measure() (*result.Run, error) {
	o := &r.opts
	if err := r.phase(PhaseConnect, 0); err != nil {
		return nil, err
	}
	if r.iperf != nil {
		if err := r.iperf.open(o); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	for _, w := range r.workers {
		r.all.Go(func() {
			if err := w.run(r); err != nil {
				r.cancel(err)
			}
		})
	}
	for range r.workers {
		select {
		case <-r.connected:
		case <-r.ctx.Done():
			return nil, context.Cause(r.ctx)
		}
	}
	r.result = r.newResult(time.Since(began))
	if c := &r.result.Connect; c.Made == 0 {
		return nil, errors.New(r.result.Faults[0])
	}
	if err := r.beginIperf(); err != nil {
		return nil, err
	}
	if err := r.phase(PhaseSettle, 0); err != nil {
		return nil, err
	}
	if err := r.sleep(time.Now().Add(o.Settle)); err != nil {
		return nil, err
	}
	if err := r.phase(PhaseIdle, 0); err != nil {
		return nil, err
	}
	if err := r.planTimeline(); err != nil {
		return nil, err
	}
	r.result.Begin = r.beginTime
	close(r.traffic)
	if err := r.follow(); err != nil {
		return nil, err
	}
	if err := r.endIperf(); err != nil {
		return nil, err
	}
	return r.finish()
}

// run is the life of a worker, on a goroutine of its own.
func (w *worker) run(r *run) error {
	w.seg = newSegment(w.kinds)
	if err := w.makeConns(); err != nil {
		return err
	}
	r.connected <- struct{}{}
	select {
	case <-r.traffic:
	case <-w.ctx.Done():
		return nil
	}
	w.seg.waited = 0
	return w.traffic(r.along, r.begin)
}

func (r *run) phase(name string, window int) error {
	if r.opts.OnPhase == nil {
		return nil
	}
	return r.opts.OnPhase(Phase{Name: name, Window: window, Begin: r.beginTime})
}

func (r *run) sleep(until time.Time) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// lead is how long before traffic begins that is said, so that all threads begin at the same time.
const lead = 5 * time.Millisecond

// planTimeline cuts the warm-up and each window into seconds. The warm-up ends with a whole one, a window begins with one.
func (r *run) planTimeline() error {
	o := &r.opts
	start := time.Now().Add(lead)
	if o.Begin != nil {
		var err error
		if start, err = o.Begin(r.ctx); err != nil {
			return err
		}
		if late := time.Since(start); late > 0 {
			return fmt.Errorf("start-at: traffic was to begin %v before all connections were made and had settled", late.Round(time.Millisecond))
		}
	}
	now := sys.Host.Nanotime()
	at := now + int64(time.Until(start))
	r.begin = at + int64(o.Warmup)
	r.beginTime = time.Now().Add(time.Duration(r.begin - now))
	add := func(end int64, window int) {
		r.timeline = append(r.timeline, cut{at, end, window})
		at = end
	}
	if first := int64(o.Warmup % time.Second); first > 0 {
		add(at+first, -1)
	}
	for at < r.begin {
		add(at+int64(time.Second), -1)
	}
	for window, length := range o.windows() {
		if window == 0 || len(o.Stages) > 0 {
			r.spans = append(r.spans, at)
		}
		end := at + int64(length)
		for at < end {
			add(min(end, at+int64(time.Second)), window)
		}
	}
	r.spans = append(r.spans, at)
	r.waited = make([][]int64, len(r.spans)-1)
	for span := range r.waited {
		r.waited[span] = make([]int64, o.Threads)
	}
	r.windows, r.end = o.Windows, at
	r.along = &timeline{cuts: r.timeline, spans: r.spans}
	return nil
}

// follow gathers what the workers see, until they have ended.
func (r *run) follow() error {
	over := make(chan struct{})
	go func() {
		r.all.Wait()
		close(over)
	}()
	defer func() { // also after an error: close waits for the workers, and these for room in the channel
		r.cancel(nil)
		go func() {
			for range r.segments {
			}
		}()
		<-over
		close(r.segments)
	}()
	phases, begun := r.phases(), 0
	timer := time.NewTimer(time.Until(phases[0].at))
	defer timer.Stop()
	for {
		select {
		case s := <-r.segments:
			r.gather(s)
		case <-timer.C:
			if err := phases[begun].begin(); err != nil {
				return err
			}
			if begun++; begun < len(phases) {
				timer.Reset(time.Until(phases[begun].at))
			}
		case at := <-r.stops:
			if err := r.cutShort(at); err != nil {
				return err
			}
			if phases = r.phases(); begun < len(phases) {
				timer.Reset(time.Until(phases[begun].at))
			}
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		case <-over:
			for len(r.segments) > 0 {
				r.gather(<-r.segments)
			}
			if r.ctx.Err() != nil {
				return context.Cause(r.ctx)
			}
			for _, phase := range phases[begun:] { // their time has come, but this was seen first
				if err := phase.begin(); err != nil {
					return err
				}
			}
			return r.phase(PhaseEnd, 0)
		}
	}
}

// ahead is how much earlier a phase is due than the cut of the workers: these give way to it then, if they have the only processor.
const ahead = 100 * time.Microsecond

// timedPhase is one that begins at a planned time.
type timedPhase struct {
	at    time.Time
	begin func() error
}

func (r *run) phases() []timedPhase {
	o := &r.opts
	var all []timedPhase
	g := &r.result.Generator
	first := r.beginTime.Add(-ahead)
	end := first.Add(time.Duration(r.end - r.begin))
	if o.Warmup > 0 {
		all = append(all, timedPhase{time.Now(), func() error { return r.phase(PhaseWarmup, 0) }})
	}
	for window, length := range o.windows()[:r.windows] {
		all = append(all, timedPhase{first, func() error {
			if window == 0 {
				user, system, _ := usage()
				g.CPUUser, g.CPUSystem = -user, -system
				r.steal = result.WatchSteal()
			}
			return r.phase(PhaseWindow, window)
		}})
		first = first.Add(length)
	}
	return append(all, timedPhase{end, func() error {
		user, system, rss := usage()
		g.CPUUser, g.CPUSystem, g.MaxRSS = g.CPUUser+user, g.CPUSystem+system, rss
		return r.phase(PhaseDrain, 0)
	}})
}

// spareDescriptors are what a process has open besides its connections and what each thread needs: standard files, libraries.
const spareDescriptors = 28

// CheckDescriptors reports whether this process may have as many descriptors as o needs. Run does so, too.
func (o Options) CheckDescriptors() error {
	r := run{opts: o.withDefaults()}
	r.part()
	o = r.local
	sockets := o.Conns
	if o.shares() {
		_, ports, _ := splitPorts(o.Addr) // they were looked at
		sockets = min(o.Conns, o.Threads*(len(ports)+1))
	}
	need := uint64(sockets + 4*o.Threads + spareDescriptors)
	if limit, limited := descriptorLimit(); limited && need > limit {
		return fmt.Errorf("conns: %d connections need %d file descriptors, but only %d are allowed (raise it: ulimit -n %d)", o.Conns, need, limit, need)
	}
	return nil
}

// defaultID is a random one, for a run that has no shards.
func defaultID() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// name says what is run, for people.
func (o *Options) name() string {
	what, conns := o.Workload, "connections"
	if o.Protocol != "" {
		what = o.Protocol
	}
	if o.Conns == 1 {
		conns = "connection"
	}
	if o.Rooms > 0 {
		what += fmt.Sprintf(" in %d rooms", o.Rooms)
	}
	if o.TLS != nil {
		what += " over TLS"
	}
	if o.Network == "udp" {
		what += " over UDP"
	}
	text := fmt.Sprintf("%s, %d %s, %v B", what, o.Conns, conns, o.Size)
	if o.Batch > 1 {
		text += fmt.Sprintf(", %d messages a batch", o.Batch)
	}
	if o.open() {
		return text + ", " + o.rateText() + " " + o.Pace
	}
	if o.Depth > 1 {
		text += fmt.Sprintf(", %d in flight", o.Depth)
	}
	return text
}

func (r *run) newResult(connect time.Duration) *result.Run {
	o := &r.opts
	config, err := json.Marshal(o)
	if err != nil {
		panic(err) // it is plain data
	}
	hash, err := result.HashConfig(config)
	if err != nil {
		panic(err) // it is JSON
	}
	run := &result.Run{
		SchemaVersion: result.SchemaVersion,
		ID:            o.ID,
		Name:          o.name(),
		Config:        config,
		ConfigHash:    hash,
		Shard:         o.Shard,
		Machine:       result.Describe(),
		Tags:          o.Tags,
		Target:        r.target(0, o.measured()),
		Connect:       result.Connect{Wanted: r.local.Conns, Seconds: connect.Seconds(), Latency: result.NewHistogram()},
		Check:         result.Check{Datagrams: o.Network == "udp"},
		Generator:     result.Generator{Threads: o.Threads},
	}
	if run.ID == "" {
		run.ID = defaultID()
	}
	run.Machine.Network = result.NetworkTo(r.remotes[0])
	for _, w := range r.workers {
		p := &w.connecting
		run.Connect.Made += p.made
		run.Connect.Failed += p.failed
		merge(run.Connect.Latency, p.latency)
		run.Faults = appendFaults(run.Faults, p.faults)
		run.Errors = addErrors(run.Errors, p.errors)
	}
	var begin time.Duration
	for _, length := range o.windows() {
		run.Windows = append(run.Windows, result.Window{Begin: begin.Seconds(), Target: r.target(begin, begin+length)})
		begin += length
	}
	return run
}

// target is the mean rate that is planned for this shard between two times since the begin of the first window.
func (r *run) target(from, to time.Duration) float64 {
	if len(r.opts.Stages) == 0 {
		return r.local.Rate
	}
	return r.opts.planned(from, to) / (to - from).Seconds() * float64(r.local.Active) / float64(r.opts.Active)
}
