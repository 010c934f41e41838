package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/watch"
)

type loadCommand struct {
	Addr string `arg:"" help:"Of the server: HOST:PORT, unix:PATH, or udp:HOST:PORT. Several ports are taken in turn: HOST:7000-7003,7010."`

	Conns    int    `default:"100" help:"Connections." placeholder:"N" group:"What:"`
	Threads  int    `default:"1" help:"Event loops that drive them." placeholder:"N" group:"What:"`
	Workload string `default:"echo" help:"What the connections do: echo (everything that is sent has to come back), churn (the same, on a new connection each time), sink (only send), push (only receive), broadcast (what a connection sends comes to all, or to those of its room). The last three are for strand serve --proto of the same name, or a server that does as docs/load.md says." placeholder:"NAME" group:"What:"`
	Protocol string `help:"What they speak instead of an echo: resp-ping, resp-set, resp-get (Redis), http (GET by HTTP/1.1), websocket (an echo), mqtt-ping; or, with --workload sink, iperf3 (the server is a real iperf3 -s)." placeholder:"NAME" group:"What:"`
	Path     string `help:"For http and websocket; / by default." placeholder:"PATH" group:"What:"`
	Framing  string `help:"Where a message ends: raw (nowhere that shows), length (4 bytes before it say how many follow), line; raw by default, and length with --workload push and broadcast." placeholder:"NAME" group:"What:"`
	Size     string `default:"64" help:"Bytes of a message: 64, a range (64-1024), a list with weights (64:9,1024:1), or lognormal:MEDIAN,SIGMA[,LARGEST]." placeholder:"SIZES" group:"What:"`
	Batch    int    `default:"1" help:"Messages of an operation, which are sent together." placeholder:"N" group:"What:"`
	Depth    int    `help:"Operations in flight on a connection, at most; 1 by default, 64 with --pace max, and with --rate over UDP." placeholder:"N" group:"What:"`

	Active    int           `help:"Connections that are at work; all by default, and 1 that sends (in each room) with --workload broadcast. The others are idle." placeholder:"N" group:"What:"`
	Rooms     int           `help:"Rooms that the connections of workload broadcast are spread over: what one sends comes to those of its room." placeholder:"N" group:"What:"`
	Heartbeat time.Duration `help:"Idle connections have a message echoed at this distance; never by default." group:"What:"`
	Slow      int           `help:"Connections that send as much as they can, and do not read until the end." placeholder:"N" group:"What:"`
	SlowRate  int           `help:"Bytes a second that they read." placeholder:"N" group:"What:"`
	Source    []string      `help:"Addresses, or prefixes of them, that connections come from in turn." placeholder:"ADDR,..." group:"What:"`

	TLS         bool     `name:"tls" help:"Speak TLS. The handshake is a part of connecting." group:"TLS:"`
	TLSInsecure bool     `name:"tls-insecure" help:"Accept any certificate." group:"TLS:"`
	TLSCA       string   `name:"tls-ca" help:"Accept what those have signed whose certificates are in this file, in PEM; by default the system's." placeholder:"FILE" group:"TLS:"`
	TLSName     string   `name:"tls-name" help:"Whom the server's certificate must be for; the host of the address by default." placeholder:"NAME" group:"TLS:"`
	ALPN        []string `name:"alpn" help:"Application protocols to offer, of which the server must choose one." placeholder:"NAME,..." group:"TLS:"`

	Shards  int        `help:"Run so many processes, each with its share of the connections, and put their results together: one process may have only so many descriptors." placeholder:"N" group:"Shards:"`
	Shard   shardValue `help:"Run this share of a run: INDEX/N, from 1. Needs --run-id and --start-at." placeholder:"I/N" group:"Shards:"`
	RunID   string     `name:"run-id" help:"What all shards of a run have in common." placeholder:"ID" group:"Shards:"`
	StartAt startValue `help:"When traffic begins, in RFC 3339 or seconds since 1970." placeholder:"TIME" group:"Shards:"`
	Pipe    bool       `hidden:"" help:"Say on standard output when the connections are made, and read from standard input when traffic begins."`

	watching
	Prom string `help:"Tell Prometheus how the run goes, at http://HOST:PORT/metrics, until it ends." placeholder:"HOST:PORT" group:"Output:"`

	ClientCPUs watch.CPUs `name:"client-cpus" sep:"none" help:"Processors that the generator may use, such as 0,2-3." placeholder:"LIST" group:"What:"`

	Pace   string       `help:"When operations begin: closed (when another has ended), max (the same, with many in flight), or as planned with --rate: constant, poisson, uniform (constant on each connection). Default: closed, or constant with --rate." placeholder:"NAME" group:"When:"`
	Rate   float64      `help:"Operations a second, over all connections." placeholder:"N" group:"When:"`
	Stages []load.Stage `sep:"," help:"Rates that follow each other, each for its time and in a window of its own: 1000:10s, or 1000-4000:30s for one that changes evenly. Instead of --rate, --duration and --windows." placeholder:"RATE:TIME,..." group:"When:"`
	Seed   uint64       `help:"Of all that is random. The same seed plans the same run." placeholder:"N" group:"When:"`

	ConnectRate int           `help:"Connections begun a second; as fast as they are made by default." placeholder:"N" group:"Phases:"`
	Connecting  int           `default:"64" help:"Connections being made at the same time." placeholder:"N" group:"Phases:"`
	Settle      time.Duration `default:"200ms" help:"Pause between connecting and traffic." group:"Phases:"`
	Warmup      time.Duration `default:"1s" help:"Traffic that is not counted." group:"Phases:"`
	Duration    time.Duration `short:"d" default:"10s" help:"Measured time, of each window." group:"Phases:"`
	Windows     int           `default:"1" help:"Windows that follow each other, each with figures of its own." placeholder:"N" group:"Phases:"`
	Drain       time.Duration `default:"5s" help:"How long to wait at the end for what is in flight. What has no answer then counts as having taken until then." group:"Phases:"`
	LostAfter   time.Duration `help:"Over UDP, a datagram that has no answer for so long is lost; 200ms by default." group:"Phases:"`
	Stall       time.Duration `help:"Give a connection up that waits for an answer and hears nothing for so long; by default it may wait until the end. Over UDP only while connecting." group:"Phases:"`
	FailFast    bool          `help:"End the run at the first fault of any connection." group:"Phases:"`

	MaxLate     time.Duration `default:"2ms" help:"The run is invalid if 1 % of its operations begin so much later than they could, for the generator's own reasons; negative: no bound." group:"Validity:"`
	MinAchieved float64       `default:"0.99" help:"The run is invalid if less than this share of the planned operations is taken up in time." placeholder:"SHARE" group:"Validity:"`
	MaxBusy     float64       `help:"The run is invalid if a thread is busy for more than this share of the time; 0.95 by default, and no bound in a closed loop." placeholder:"SHARE" group:"Validity:"`

	Tag  map[string]string `help:"For the result." placeholder:"KEY=VALUE" group:"Output:"`
	SLO  []string          `name:"slo" sep:"none" help:"An objective that the run must keep, such as 'p99<5ms', 'errors==0' or 'rate>=0.99*target'; may be repeated. The exit code is 99 if it does not." placeholder:"CONDITION" group:"Output:"`
	JSON string            `name:"json" help:"Write the result to this file." placeholder:"FILE" group:"Output:"`
	HLog string            `name:"hlog" help:"Write the histograms of each second to this file, in the log format of HdrHistogram." placeholder:"FILE" group:"Output:"`

	timed timedFlags
}

func (c *loadCommand) Run() error {
	o, conditions, err := c.options()
	if err != nil {
		return usageError{err}
	}
	ends := heed(c.Pipe)
	defer ends.release()
	if c.Shards > 1 {
		return c.runShards(ends, &o, conditions)
	}
	if err := o.CheckDescriptors(); err != nil { // those of the shards are for each of them to check
		return usageError{err}
	}
	if err := c.ClientCPUs.Use(); err != nil {
		return usageError{fmt.Errorf("client-cpus: %w", err)}
	}
	if o.ID == "" {
		o.ID = newRunID()
	}
	exporter, err := startExporter(c.Prom, &o)
	if err != nil {
		return err
	}
	defer exporter.close()
	server := new(watched)
	if !c.Pipe { // whoever has started this watches
		if server, err = c.watching.start(ends, &o); err != nil {
			return err
		}
	}
	live := liveLine{terminal: isTerminal(os.Stderr), silent: c.Pipe}
	log := histogramLog{path: c.HLog}
	defer log.abort()
	o.OnInterval = func(s load.Second) {
		live.show(s)
		entries := entriesOf(s)
		log.write(s, entries)
		exporter.publish(s, entries)
	}
	o.Stop = ends.stop
	o.OnPhase = func(p load.Phase) error {
		server.lookAt(p)
		if p.Name == load.PhaseDrain && ends.asked.Load() && !c.Pipe {
			live.say(waitingForRest)
		}
		return nil
	}
	if c.Pipe {
		obeyParent(&o, ends)
	}
	// A processor more than there are threads would not help them: its search for work would only take time away from the server.
	runtime.GOMAXPROCS(min(o.Threads, runtime.NumCPU()))
	run, err := load.Run(ends, o)
	live.done()
	server.stop(err != nil)
	if ends.Err() != nil || errors.Is(err, load.ErrStopped) {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	server.fill(run)
	run.Judge(conditions)
	if err := log.commit(); err != nil {
		return fmt.Errorf("hlog: %w", err)
	}
	if c.Pipe { // whoever has started this tells of all shards
		return run.WriteFile(c.JSON)
	}
	if err := run.WriteTable(os.Stdout); err != nil {
		return err
	}
	if c.JSON != "" {
		if err := run.WriteFile(c.JSON); err != nil {
			return fmt.Errorf("json: %w", err)
		}
	}
	return errors.Join(outcome(run), server.writeProfile(), exporter.close())
}

// outcome is what a run's exit code tells. What is wrong with the answers is worse than any figure.
func outcome(run *result.Run) error {
	switch {
	case run.Check.Faults() > 0:
		return fmt.Errorf("what came back is not what was sent: %s", run.Faults[0])
	case run.Interrupted:
		return errInterrupted
	case len(run.Errors) > 0 && len(run.SLO) == 0: // otherwise objectives say what may be
		return fmt.Errorf("connections have failed: %s", run.Faults[0])
	}
	return verdict(run)
}

// options checks all that can be checked before anything is done.
func (c *loadCommand) options() (load.Options, []*result.Condition, error) {
	size, err := load.ParseSizes(c.Size)
	if err != nil {
		return load.Options{}, nil, fmt.Errorf("size: %w", err)
	}
	o := load.Options{
		Addr: c.Addr, Conns: c.Conns, Threads: c.Threads, Workload: c.Workload, Protocol: c.Protocol, Path: c.Path,
		Framing: c.Framing, Size: size, Batch: c.Batch, Depth: c.Depth,
		Pace: c.Pace, Rate: c.Rate, Stages: c.Stages, Seed: c.Seed,
		ConnectRate: c.ConnectRate, Connecting: c.Connecting, Settle: c.Settle, Warmup: c.Warmup, Window: c.Duration, Windows: c.Windows,
		Drain: c.Drain, LostAfter: c.LostAfter, Stall: c.Stall, FailFast: c.FailFast,
		Active: c.Active, Rooms: c.Rooms, Heartbeat: c.Heartbeat, Slow: c.Slow, SlowRate: c.SlowRate, Sources: c.Source,
		Shard: result.Shard(c.Shard), ID: c.RunID,
		MaxLate: c.MaxLate, MinAchieved: c.MinAchieved, MaxBusy: c.MaxBusy, Tags: c.Tag,
	}
	o.Network, o.Addr = splitNetwork(c.Addr)
	c.stageOptions(&o)
	if err := c.explicit(); err != nil {
		return o, nil, err
	}
	if err := c.tlsOptions(&o); err != nil {
		return o, nil, err
	}
	if err := c.shardOptions(&o); err != nil {
		return o, nil, err
	}
	if err := o.Validate(); err != nil {
		return o, nil, err
	}
	if err := c.watching.validate(); err != nil {
		return o, nil, err
	}
	if c.Prom != "" && c.Shards > 1 {
		return o, nil, errors.New("prom: not with --shards: nobody has the figures of all of them while they run")
	}
	for name, path := range map[string]string{"json": c.JSON, "hlog": c.HLog, "profile": c.Profile} {
		if path == "" {
			continue
		}
		if err := result.CheckFile(path); err != nil {
			return o, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	conditions, err := result.ParseConditions(c.SLO)
	return o, conditions, err
}

// splitNetwork takes an address apart: unix:PATH, udp:HOST:PORT, or HOST:PORT of TCP.
func splitNetwork(text string) (network, addr string) {
	for _, network := range []string{"unix", "udp"} {
		if addr, ok := strings.CutPrefix(text, network+":"); ok {
			return network, addr
		}
	}
	return "tcp", text
}

// explicit refuses a 0 that was asked for where Options have a default in its place.
func (c *loadCommand) explicit() error {
	for _, flag := range []struct {
		name string
		zero bool
	}{
		{"conns", c.Conns == 0}, {"threads", c.Threads == 0}, {"batch", c.Batch == 0}, {"connecting", c.Connecting == 0},
		{"duration", c.Duration == 0}, {"windows", c.Windows == 0},
	} {
		if flag.zero {
			return fmt.Errorf("%s: 0 is less than 1", flag.name)
		}
	}
	return nil
}

// tlsOptions completes o for a run over TLS.
func (c *loadCommand) tlsOptions(o *load.Options) error {
	if c.TLS {
		o.TLS = &load.TLS{Insecure: c.TLSInsecure, CA: c.TLSCA, Name: c.TLSName, ALPN: c.ALPN}
		return nil
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"tls-insecure", c.TLSInsecure}, {"tls-ca", c.TLSCA != ""}, {"tls-name", c.TLSName != ""}, {"alpn", len(c.ALPN) > 0}} {
		if flag.set {
			return fmt.Errorf("%s: it needs --tls", flag.name)
		}
	}
	return nil
}

// histogramLog is the file of --hlog, or none if its path is empty.
type histogramLog struct {
	path string
	file *result.File
	log  *result.LogWriter
	err  error // the first
}

// entriesOf are the histograms of a second that are not empty.
func entriesOf(s load.Second) (all []result.Entry) {
	for _, name := range slices.Sorted(maps.Keys(s.Operations)) {
		op := s.Operations[name]
		for _, kind := range []struct {
			name      string
			histogram *result.Histogram
		}{{result.KindResponse, op.Response}, {result.KindService, op.Service}, {result.KindLag, op.Lag}} {
			if kind.histogram.TotalCount() > 0 {
				all = append(all, result.Entry{
					Begin: s.Begin, Length: time.Duration(s.Interval.Seconds * float64(time.Second)),
					Operation: name, Kind: kind.name, Histogram: kind.histogram,
				})
			}
		}
	}
	return all
}

func (l *histogramLog) write(s load.Second, entries []result.Entry) {
	if l.path == "" || l.err != nil || s.Window < 0 {
		return
	}
	if l.log == nil {
		if l.file, l.err = result.Create(l.path); l.err != nil {
			return
		}
		if l.log, l.err = result.NewLogWriter(l.file, s.Run.LogHeader()); l.err != nil {
			return
		}
	}
	for _, entry := range entries {
		if l.err == nil {
			l.err = l.log.Write(entry)
		}
	}
}

func (l *histogramLog) commit() error {
	if l.err != nil || l.file == nil {
		return l.err
	}
	err := l.file.Commit()
	l.file = nil
	return err
}

func (l *histogramLog) abort() {
	if l.file != nil {
		l.file.Abort()
	}
}

// liveLine shows once a second how a run goes: on a terminal as one line that changes, elsewhere as plain lines.
type liveLine struct {
	terminal bool
	silent   bool
	shown    bool // a line is on the terminal, without its end
}

func (l *liveLine) show(s load.Second) {
	if l.silent || s.Interval.Seconds < 0.5 { // what is left of a phase
		return
	}
	text := fmt.Sprintf("%5.1f s  %9.0f/s  p50 %v  p99 %v  max %v  %d connections, %d in flight", s.Interval.Begin, s.Rate, latency(s.P50), latency(s.P99), latency(s.Max), s.Conns, s.InFlight)
	if s.Errors > 0 {
		text += fmt.Sprintf(", %d errors", s.Errors)
	}
	if !l.terminal {
		fmt.Fprintln(os.Stderr, text)
		return
	}
	l.shown = true
	fmt.Fprint(os.Stderr, "\r\x1b[K", text)
}

func latency(ns int64) time.Duration { return time.Duration(ns).Round(time.Microsecond) }

func (l *liveLine) done() {
	if l.shown {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
		l.shown = false
	}
}

// say writes a line that stays.
func (l *liveLine) say(text string) {
	l.done()
	fmt.Fprintln(os.Stderr, text)
}
