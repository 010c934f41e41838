package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/poller/sys"
)

// Workloads: what the connections do.
const (
	WorkloadEcho = "echo" // every byte that is sent has to come back
	// WorkloadSink only sends: an operation has ended when the kernel has taken it. At the end the sending side is shut down. A server that then says
	// how much it has received, as strand's own does, has that checked: 8 bytes for how many, 4 for their CRC-32C, big endian.
	WorkloadSink = "sink"
	// WorkloadPush only receives, what strand's own server sends it as asked for. Latency is between two processes of one machine: from when the server
	// had planned to send.
	WorkloadPush = "push"
	// WorkloadBroadcast sends to a server that is to send it on to every connection, that of the sender included, or with Rooms to those of the sender's room. Only
	// Active connections send, 1 (in each room) if that is 0. An operation has ended when its sender has it back; what each of the others takes is apart,
	// as "delivery".
	WorkloadBroadcast = "broadcast"
	// WorkloadChurn connects, has one batch echoed and closes, again and again. An operation is all of it.
	WorkloadChurn = "churn"
)

// Framings: where a message ends.
const (
	FramingRaw    = "raw"    // nowhere that shows: its size is known
	FramingLength = "length" // 4 bytes, big endian, before it say how many follow
	FramingLine   = "line"   // at its newline, which is its last byte
)

// Paces: when operations begin.
const (
	PaceClosed   = "closed"   // as soon as an earlier one of the connection has ended
	PaceMax      = "max"      // the same, with so many in flight that a connection never waits for an answer alone
	PaceConstant = "constant" // at the same distance from each other, over all connections in turn
	PacePoisson  = "poisson"  // at random and independently of each other, on a random connection
	PaceUniform  = "uniform"  // at the same distance on each connection, which begins at a random moment
)

// Options describe one run. Only Addr must be set. Sizes are in bytes.
type Options struct {
	Addr     string // of the server: HOST:PORT, or the path of a unix socket; several ports, as in HOST:7000-7003,7010, are taken in turn
	Network  string // "tcp", "unix" or "udp"; empty means tcp
	Conns    int    // connections; 0 means 1
	Threads  int    // event loops that drive them, each on a thread of its own; 0 means 1
	Workload string // one of the Workload constants; empty means echo

	Protocol string // one of the Protocol constants, instead of an echo; empty means none
	Path     string // for protocols over HTTP; empty means /

	// TLS has the connections speak it. The handshake belongs to connecting, and to a visit of WorkloadChurn; each is a full one, without resumption.
	// Bytes are those of messages, without what TLS adds. nil means none.
	TLS *TLS `json:",omitempty"`

	Framing string // one of the Framing constants; empty means raw
	Size    Sizes  // of messages, their framing included; the zero value means 64
	Batch   int    // messages of an operation, which are sent together; 0 means 1
	// Depth is how many operations a connection has in flight at most; 0 means 1, or 64 with PaceMax, and in an open loop over UDP, where nobody waits for
	// what may be lost. In an open loop one that would be more waits, and its time counts from when it was planned.
	Depth int

	// LostAfter is how long a datagram may go without an answer over UDP; 0 means 200 ms. Then it is lost: its operation has taken so long at least, and another one
	// may begin in its place. An answer that comes later is counted as late, and otherwise ignored.
	LostAfter time.Duration `json:",omitempty"`

	Active    int           // connections that are at work; 0 means all, but for Slow ones. The others are idle.
	Heartbeat time.Duration // idle connections have a message echoed at this distance; 0 means never
	// Rooms is over how many rooms the connections of WorkloadBroadcast are spread, each with a sender at least, which they enter as RoomOrder says; 0 means that there
	// are none, and all connections hear each other.
	Rooms int
	// Slow is how many of the connections send as much as their sockets take, but read only SlowRate bytes a second, until the drain. They are no part of
	// any figure: a server must bear them. At the end everything that they have sent must come back. Only with WorkloadEcho and raw framing.
	Slow     int
	SlowRate int

	// Stages are an open loop whose rate changes, instead of Rate, Window and Windows: each is a window. The warm-up has the rate that the first begins with.
	Stages []Stage `json:",omitempty"`

	Pace string  // one of the Pace constants; empty means closed, or constant if there is a Rate
	Rate float64 // planned operations a second, over all connections; only for an open loop
	Seed uint64  // of what is random: the same seed plans the same run

	// Sources are addresses, and prefixes such as 127.0.2.0/28 whose addresses are meant, that connections come from in turn. If there is none, the kernel
	// chooses; but to a server on 127.0.0.0/8 and with more connections than there are ports for, several of that net are used.
	Sources []string

	ConnectRate int           // connections begun a second; 0 means as fast as they are made
	Connecting  int           // connections being made at the same time, at most; 0 means 64
	Settle      time.Duration // pause between connecting and traffic
	Warmup      time.Duration // traffic that is not counted
	Window      time.Duration // traffic that is; 0 means 10 s
	Windows     int           // that follow each other, each with figures of its own; 0 means 1
	Drain       time.Duration // how long to wait at the end for what is in flight; 0 means 5 s

	// Stall is how long a connection that waits for an answer may hear nothing before it is given up; 0 means that it may wait
	// until the drain is over. While connections are being made it is always limited: to Stall, or 5 s. Over UDP it is limited only then.
	Stall time.Duration
	// FailFast ends the run with an error at the first fault of any connection. Otherwise faults are counted, and their connections given up.
	FailFast bool

	// What makes a run invalid, because its own generator limited it. 0 means the default, a negative value no bound.
	MaxLate     time.Duration // 99 % of operations must begin as soon as planned, or as their connection lets them, but for this; 0 means 2 ms
	MinAchieved float64       // share of the planned operations that must have been begun when they were due; 0 means 0.99
	MaxBusy     float64       // share of the time that a thread may have something to do; 0 means 0.95, or no bound in a closed loop

	Tags map[string]string // for the result

	// Shard is which part of the run this process is: it has its share of connections, rate and sources. The zero value is all of it. Shards of one run have
	// the same ID, and options that are otherwise the same.
	Shard result.Shard `json:"-"`
	ID    string       `json:"-"` // of the run, for the result; empty means a random one
	// Begin is asked, when the connections are made and have settled, for the time at which traffic is to begin; nil means now.
	Begin func(context.Context) (time.Time, error) `json:"-"`

	// Stop has traffic end before its time, at the time that comes from it: the present window is cut there, what is in flight is waited for as at any end,
	// and Run returns what was measured. Before the first second of the first window is over, there is nothing to return but ErrStopped.
	Stop <-chan time.Time `json:"-"`

	// OnPhase is told, on the goroutine of Run, that a phase begins. It should not take long: traffic does not wait for it.
	OnPhase func(Phase) error `json:"-"`
	// OnInterval is told what happened in each second of traffic, on the goroutine of Run.
	OnInterval func(Second) `json:"-"`
}

// Phase is where a run is.
type Phase struct {
	Name   string    // one of the Phase constants
	Window int       // for PhaseWindow: from 0
	Begin  time.Time // of traffic's first window, as it is planned; zero before that is known
}

// The phases, in their order. PhaseIdle is the end of the settling: all connections are made, and none has been active.
const (
	PhaseConnect = "connect"
	PhaseSettle  = "settle"
	PhaseIdle    = "idle"
	PhaseWarmup  = "warm-up"
	PhaseWindow  = "window"
	PhaseDrain   = "drain"
	PhaseEnd     = "end"
)

// Second is an interval with its histograms, by operation. They are the callee's until it returns.
type Second struct {
	Run *result.Run // in the making: what was known before traffic is there
	result.Interval
	Window     int // that it belongs to, from 0; -1 for the warm-up, and the number of windows for the drain
	Begin      time.Time
	Operations map[string]*result.Operation
}

// Defaults, and bounds of what can be asked for.
const (
	defaultDepthMax    = 64
	defaultConnecting  = 64
	defaultConnectWait = 5 * time.Second
	defaultWindow      = 10 * time.Second
	defaultDrain       = 5 * time.Second
	defaultLate        = 2 * time.Millisecond
	defaultLostAfter   = 200 * time.Millisecond
	defaultAchieved    = 0.99
	defaultBusy        = 0.95

	maxThreads = 256
	maxPending = 1 << 24 // messages in flight, over all connections
)

// withDefaults returns o with its zero values replaced by what they mean.
func (o Options) withDefaults() Options {
	orDefault(&o.Network, "tcp")
	orDefault(&o.Conns, 1)
	orDefault(&o.Threads, 1)
	orDefault(&o.Shard, result.Shard{Index: 1, Of: 1})
	orDefault(&o.Workload, WorkloadEcho)
	if o.Workload == WorkloadPush || o.Workload == WorkloadBroadcast {
		orDefault(&o.Framing, FramingLength)
	}
	orDefault(&o.Framing, FramingRaw)
	if o.Workload == WorkloadBroadcast {
		orDefault(&o.Active, max(1, o.Rooms))
	}
	orDefault(&o.Active, o.Conns-o.Slow)
	o.Size = o.Size.atLeast(leastSize(o.Framing))
	if o.Network == "udp" {
		o.Size = o.Size.atLeast(stampSize).atMost(sys.MaxDatagram)
		orDefault(&o.LostAfter, defaultLostAfter)
	}
	orDefault(&o.Batch, 1)
	if o.Rate != 0 || len(o.Stages) > 0 {
		orDefault(&o.Pace, PaceConstant)
	}
	orDefault(&o.Pace, PaceClosed)
	if o.Pace == PaceMax || o.Network == "udp" && o.open() {
		orDefault(&o.Depth, defaultDepthMax)
	}
	orDefault(&o.Depth, 1)
	orDefault(&o.Connecting, defaultConnecting)
	if len(o.Stages) == 0 {
		orDefault(&o.Window, defaultWindow)
	}
	orDefault(&o.Windows, max(1, len(o.Stages)))
	orDefault(&o.Drain, defaultDrain)
	orDefault(&o.MaxLate, defaultLate)
	orDefault(&o.MinAchieved, defaultAchieved)
	if o.Pace != PaceClosed {
		orDefault(&o.MaxBusy, defaultBusy)
	}
	return o
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// open reports whether operations have planned starts. It is for options with their defaults.
func (o *Options) open() bool { return o.Pace != PaceClosed && o.Pace != PaceMax }

// Validate reports the first field that cannot be used. Names are those of the flags of strand load.
func (o Options) Validate() error {
	if err := o.validateStages(); err != nil {
		return err
	}
	o = o.withDefaults()
	for _, check := range []func() error{o.validateWhat, o.validateDatagrams, o.validateMessages, o.validatePace, o.validateTimes} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) validateWhat() error {
	switch {
	case o.Addr == "":
		return errors.New("addr: none")
	case o.Network != "tcp" && o.Network != "unix" && o.Network != "udp":
		return fmt.Errorf("network: unknown network %q (there are: tcp, unix, udp)", o.Network)
	case o.Conns < 1:
		return fmt.Errorf("conns: %d is less than 1", o.Conns)
	case o.Threads < 1 || o.Threads > maxThreads:
		return fmt.Errorf("threads: %d is not between 1 and %d", o.Threads, maxThreads)
	case o.Shard.Of < 1 || o.Shard.Index < 1 || o.Shard.Index > o.Shard.Of:
		return fmt.Errorf("shard: %d of %d does not exist", o.Shard.Index, o.Shard.Of)
	case o.Threads > o.Conns/o.Shard.Of:
		return fmt.Errorf("threads: %d are more than there are connections (%d)", o.Threads, o.Conns/o.Shard.Of)
	case o.Shard.Of > 1 && o.Workload == WorkloadBroadcast:
		return errors.New("shard: workload broadcast must know all of its senders")
	}
	if o.Network != "unix" {
		if _, _, err := splitPorts(o.Addr); err != nil {
			return fmt.Errorf("addr: %w", err)
		}
	} else if len(o.Sources) > 0 {
		return errors.New("source: a unix socket has none")
	}
	if _, err := parseSources(o.Sources); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := oneOf("workload", o.Workload, WorkloadEcho, WorkloadSink, WorkloadPush, WorkloadBroadcast, WorkloadChurn); err != nil {
		return err
	}
	switch {
	case o.Protocol == "" && o.Path != "":
		return errors.New("path: only a protocol over HTTP has one")
	case o.Protocol == "":
	case o.Protocol == ProtocolIperf3:
		if err := o.validateIperf(); err != nil {
			return err
		}
	case o.Workload != WorkloadEcho:
		return fmt.Errorf("protocol: workload %s has none", o.Workload)
	case o.Slow > 0:
		return errors.New("slow: a protocol has no slow readers")
	case o.Framing != FramingRaw:
		return errors.New("framing: a protocol has its own")
	case strings.ContainsAny(o.Path, " \r\n") || o.Path != "" && o.Path[0] != '/':
		return fmt.Errorf("path: %q is none", o.Path)
	default:
		if _, fixed := o.Size.fixed(); !fixed {
			return fmt.Errorf("size: all messages of protocol %s have the same", o.Protocol)
		}
		if err := oneOf("protocol", o.Protocol, protocols()...); err != nil {
			return err
		}
	}
	if err := o.TLS.validate(o); err != nil {
		return err
	}
	if err := o.validateRooms(); err != nil {
		return err
	}
	return o.validateRoles()
}

// validateDatagrams checks what is otherwise over UDP.
func (o *Options) validateDatagrams() error {
	if o.Network != "udp" {
		if o.LostAfter != 0 {
			return fmt.Errorf("lost-after: over %s nothing is lost", o.Network)
		}
		return nil
	}
	switch {
	case o.Workload != WorkloadEcho:
		return fmt.Errorf("workload: %s is none of UDP, only echo is", o.Workload)
	case o.Protocol != "":
		return fmt.Errorf("protocol: %s is none of UDP", o.Protocol)
	case o.TLS != nil:
		return errors.New("tls: it is not spoken over UDP")
	case o.Framing != FramingRaw:
		return fmt.Errorf("framing: over UDP a message is a datagram, and needs no framing %s", o.Framing)
	case o.Slow > 0:
		return errors.New("slow: over UDP a server does not wait for readers")
	case o.Size.smallest() < stampSize || o.Size.largest() > sys.MaxDatagram:
		return fmt.Errorf("size: a datagram has %d bytes at least, for its stamp, and %d at most, not %v", stampSize, sys.MaxDatagram, o.Size)
	case o.LostAfter < time.Millisecond || o.LostAfter > time.Hour:
		return fmt.Errorf("lost-after: %v is not between 1 ms and an hour", o.LostAfter)
	}
	return nil
}

// validateRoles checks what only some connections do.
func (o *Options) validateRoles() error {
	switch {
	case o.Active < 1 || o.Active > o.Conns:
		return fmt.Errorf("active: %d of %d connections", o.Active, o.Conns)
	case o.Slow < 0 || o.Slow > o.Conns-o.Active:
		return fmt.Errorf("slow: %d of %d connections, of which %d are active", o.Slow, o.Conns, o.Active)
	case o.Slow > 0 && (o.Workload != WorkloadEcho || o.Framing != FramingRaw):
		return errors.New("slow: only workload echo with framing raw has slow readers")
	case o.SlowRate < 0:
		return fmt.Errorf("slow-rate: %d is negative", o.SlowRate)
	case o.Heartbeat < 0:
		return fmt.Errorf("heartbeat: %v is negative", o.Heartbeat)
	case o.Heartbeat > 0 && o.Workload != WorkloadEcho:
		return fmt.Errorf("heartbeat: workload %s has none", o.Workload)
	case o.Active/o.Shard.Of < o.Threads:
		return fmt.Errorf("threads: %d are more than there are active connections (%d)", o.Threads, o.Active/o.Shard.Of)
	case o.Workload == WorkloadPush && o.Active < o.Conns:
		return errors.New("active: every connection of workload push receives")
	}
	return nil
}

func (o *Options) validateMessages() error {
	if err := oneOf("framing", o.Framing, FramingRaw, FramingLength, FramingLine); err != nil {
		return err
	}
	least := leastSize(o.Framing)
	if o.Workload == WorkloadPush || o.Workload == WorkloadBroadcast {
		if o.Framing != FramingLength {
			return fmt.Errorf("framing: workload %s needs framing length", o.Workload)
		}
		least = lengthHeader + stampSize // who sent it, and when
	}
	switch {
	case o.Workload == WorkloadChurn && o.Depth > 1:
		return fmt.Errorf("depth: a connection of workload churn has one operation at a time")
	case o.Size.smallest() < least:
		return fmt.Errorf("size: %d is less than the %d bytes that a message has at least with framing %s and workload %s", o.Size.smallest(), least, o.Framing, o.Workload)
	case o.Batch < 1:
		return fmt.Errorf("batch: %d is less than 1", o.Batch)
	case o.Depth < 1:
		return fmt.Errorf("depth: %d is less than 1", o.Depth)
	case o.Batch > maxPending || o.Depth > maxPending || o.Conns*o.Batch > maxPending || o.Conns*o.Batch*o.Depth > maxPending:
		return fmt.Errorf("depth: %d connections with %d operations of %d messages are more than %d messages in flight", o.Conns, o.Depth, o.Batch, maxPending)
	}
	return nil
}

func (o *Options) validatePace() error {
	if err := oneOf("pace", o.Pace, PaceClosed, PaceMax, PaceConstant, PacePoisson, PaceUniform); err != nil {
		return err
	}
	switch {
	case o.open() && len(o.Stages) == 0 && !(o.Rate > 0 && o.Rate <= math.MaxInt32):
		return fmt.Errorf("rate: pace %s needs a rate, more than 0 and at most %d operations a second, not %v", o.Pace, math.MaxInt32, o.Rate)
	case !o.open() && o.Rate != 0:
		return fmt.Errorf("rate: pace %s has none", o.Pace)
	case math.IsNaN(o.MinAchieved) || o.MinAchieved > 1:
		return fmt.Errorf("min-achieved: %v is no share of the planned rate", o.MinAchieved)
	case math.IsNaN(o.MaxBusy):
		return errors.New("max-busy: it is no number")
	}
	return nil
}

func (o *Options) validateTimes() error {
	for _, t := range []struct {
		name  string
		value time.Duration
	}{{"settle", o.Settle}, {"warmup", o.Warmup}, {"duration", o.Window}, {"drain", o.Drain}, {"stall", o.Stall}} {
		if t.value < 0 || t.value > 1000*time.Hour {
			return fmt.Errorf("%s: %v is not between 0 and 1000 hours", t.name, t.value)
		}
	}
	switch {
	case o.Windows < 1 || o.Windows > 10000:
		return fmt.Errorf("windows: %d is not between 1 and 10000", o.Windows)
	case o.ConnectRate < 0:
		return fmt.Errorf("connect-rate: %d is negative", o.ConnectRate)
	case o.Connecting < 1:
		return fmt.Errorf("connecting: %d is less than 1", o.Connecting)
	}
	return nil
}

// leastSize is what a message has at least: its header, or a byte and its newline.
func leastSize(framing string) int {
	switch framing {
	case FramingLength:
		return lengthHeader
	case FramingLine:
		return 2
	}
	return 1
}

func oneOf(field, value string, known ...string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return fmt.Errorf("%s: unknown %s %q (there are: %s)", field, field, value, strings.Join(known, ", "))
}
