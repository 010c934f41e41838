package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strand-net/strand/bench/result"
)

// iperfState is what client and server of iperf3 say to each other on the control connection, a byte each (iperf_api.h).
type iperfState int8

const (
	iperfTestStart       iperfState = 1
	iperfTestRunning     iperfState = 2
	iperfTestEnd         iperfState = 4
	iperfParamExchange   iperfState = 9
	iperfCreateStreams   iperfState = 10
	iperfServerTerminate iperfState = 11
	iperfClientTerminate iperfState = 12
	iperfExchangeResults iperfState = 13
	iperfDisplayResults  iperfState = 14
	iperfDone            iperfState = 16
	iperfAccessDenied    iperfState = -1
	iperfServerError     iperfState = -2
)

const (
	iperfCookie     = 37       // bytes that every connection begins with: 36 characters and a zero
	iperfMaxStreams = 128      // that a server takes
	iperfMaxBlock   = 1 << 20  // bytes that a server reads at once, at most
	iperfMaxJSON    = 10 << 20 // bytes
)

// iperfTest is a test by a real iperf3 server: its control connection. The connections of the workers are the streams.
type iperfTest struct {
	ctx    context.Context // of whoever has asked for the run
	remote net.Addr
	cookie []byte
	wait   time.Duration // for an answer

	conn   net.Conn
	stop   func() bool    // ends the watch of ctx
	heard  chan iperfWord // what the server says once the test runs
	ending atomic.Bool    // that it says something is expected
	done   bool           // all is said
	all    sync.WaitGroup
}

// iperfWord is something that was said, or why nothing was.
type iperfWord struct {
	state iperfState
	err   error
}

// iperfParameters is what the client asks for. No time: the client says when it is over.
type iperfParameters struct {
	TCP        bool `json:"tcp"`
	Omit       int  `json:"omit"`
	Time       int  `json:"time"`
	Num        int  `json:"num"`
	BlockCount int  `json:"blockcount"`
	Parallel   int  `json:"parallel"`
	Len        int  `json:"len"`
}

// iperfResults is what each end has seen.
type iperfResults struct {
	CPUTotal       float64       `json:"cpu_util_total"`
	CPUUser        float64       `json:"cpu_util_user"`
	CPUSystem      float64       `json:"cpu_util_system"`
	HasRetransmits float64       `json:"sender_has_retransmits"`
	Streams        []iperfStream `json:"streams"`
}

// iperfStream is one of the streams. Numbers are floating-point because the server's JSON knows no others.
type iperfStream struct {
	ID          int     `json:"id"`
	Bytes       float64 `json:"bytes"`
	Retransmits float64 `json:"retransmits"`
	Jitter      float64 `json:"jitter"`
	Errors      float64 `json:"errors"`
	Packets     float64 `json:"packets"`
	Start       float64 `json:"start_time"`
	End         float64 `json:"end_time"`
}

// validateIperf checks what a server of iperf3 can be asked for.
func (o *Options) validateIperf() error {
	_, ports, _ := splitPorts(o.Addr)
	switch {
	case o.Workload != WorkloadSink:
		return fmt.Errorf("protocol: %s is for workload %s, not %s", o.Protocol, WorkloadSink, o.Workload)
	case o.Network != "tcp" || len(ports) > 1:
		return fmt.Errorf("addr: protocol %s is spoken with one port of TCP", o.Protocol)
	case o.TLS != nil:
		return fmt.Errorf("tls: protocol %s has none", o.Protocol)
	case o.Shard.Of > 1:
		return fmt.Errorf("shard: a server of %s has one client at a time", o.Protocol)
	case o.Conns > iperfMaxStreams:
		return fmt.Errorf("conns: a server of %s takes %d streams, not %d", o.Protocol, iperfMaxStreams, o.Conns)
	case o.Framing != FramingRaw:
		return fmt.Errorf("framing: protocol %s has none", o.Protocol)
	case o.Path != "":
		return errors.New("path: only a protocol over HTTP has one")
	}
	return nil
}

// newIperfTest makes one that has not begun, with the cookie that all of its connections say.
func newIperfTest(ctx context.Context, o *Options, remote net.Addr) *iperfTest {
	t := &iperfTest{ctx: ctx, remote: remote, cookie: make([]byte, iperfCookie), heard: make(chan iperfWord, 1)}
	copy(t.cookie[:iperfCookie-1], rand.Text()+rand.Text()) // 26 characters each
	t.wait = max(o.Stall, o.Drain, defaultConnectWait)
	return t
}

// open asks the server for a test, up to where it waits for the streams.
func (t *iperfTest) open(o *Options) (err error) {
	defer t.explain(&err)
	dialer := net.Dialer{Timeout: t.wait}
	if t.conn, err = dialer.DialContext(t.ctx, t.remote.Network(), t.remote.String()); err != nil {
		return err
	}
	t.stop = context.AfterFunc(t.ctx, func() { t.conn.Close() })
	if err := t.conn.SetDeadline(time.Now().Add(t.wait)); err != nil {
		return err
	}
	if _, err := t.conn.Write(t.cookie); err != nil {
		if state, err := t.hear(); err == nil { // a server that is busy says so and closes
			return iperfUnexpected(state, iperfParamExchange)
		}
		return err
	}
	if err := t.expect(iperfParamExchange); err != nil {
		return err
	}
	if err := t.sendJSON(iperfParameters{TCP: true, Parallel: o.Conns, Len: min(o.Size.largest(), iperfMaxBlock)}); err != nil {
		return err
	}
	return t.expect(iperfCreateStreams)
}

// begin waits until the server has all of its streams and runs the test. From then on whatever it says ends the run, by cancel, until the test is to end.
func (t *iperfTest) begin(cancel context.CancelCauseFunc) (err error) {
	defer t.explain(&err)
	for _, state := range []iperfState{iperfTestStart, iperfTestRunning} {
		if err := t.expect(state); err != nil {
			return err
		}
	}
	if err := t.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	t.all.Go(func() {
		state, err := t.hear()
		if !t.ending.Load() {
			why := err
			if err == nil {
				why = iperfUnexpected(state, iperfTestRunning)
			}
			t.explain(&why)
			cancel(why)
		}
		t.heard <- iperfWord{state, err}
	})
	return nil
}

// end ends the test and exchanges results: sent is what each of the streams has sent.
func (t *iperfTest) end(sent []int64) (results iperfResults, err error) {
	defer t.explain(&err)
	t.ending.Store(true)
	if err := t.conn.SetDeadline(time.Now().Add(t.wait)); err != nil {
		return results, err
	}
	if err := t.say(iperfTestEnd); err != nil {
		return results, err
	}
	switch word := <-t.heard; {
	case word.err != nil:
		return results, word.err
	case word.state != iperfExchangeResults:
		return results, iperfUnexpected(word.state, iperfExchangeResults)
	}
	own := iperfResults{HasRetransmits: -1}
	for i, bytes := range sent {
		own.Streams = append(own.Streams, iperfStream{ID: iperfStreamID(i), Bytes: float64(bytes), Retransmits: -1})
	}
	if err := t.sendJSON(own); err != nil {
		return results, err
	}
	if err := t.receiveJSON(&results); err != nil {
		return results, err
	}
	if err := t.expect(iperfDisplayResults); err != nil {
		return results, err
	}
	t.done = true
	return results, t.say(iperfDone)
}

// iperfStreamID is what the server calls a stream: 1, 3, 4, 5 and so on.
func iperfStreamID(i int) int {
	if i == 0 {
		return 1
	}
	return i + 2
}

// close ends what is left. A server is told if its test was given up.
func (t *iperfTest) close() {
	if t.conn == nil {
		return
	}
	t.stop()
	t.ending.Store(true)
	if !t.done && t.conn.SetDeadline(time.Now().Add(time.Second)) == nil {
		_ = t.say(iperfClientTerminate) // it may have ended itself
	}
	t.conn.Close()
	t.all.Wait()
}

// explain says whose error it is.
func (t *iperfTest) explain(err *error) {
	switch {
	case *err == nil:
	case t.ctx.Err() != nil:
		*err = context.Cause(t.ctx)
	case errors.Is(*err, io.EOF), errors.Is(*err, io.ErrUnexpectedEOF):
		*err = fmt.Errorf("iperf3 server %v: %w", t.remote, errClosedByServer)
	default:
		*err = fmt.Errorf("iperf3 server %v: %w", t.remote, *err)
	}
}

func (t *iperfTest) say(state iperfState) error {
	_, err := t.conn.Write([]byte{byte(state)})
	return err
}

// hear waits for what the server says next.
func (t *iperfTest) hear() (iperfState, error) {
	var one [1]byte
	if _, err := io.ReadFull(t.conn, one[:]); err != nil {
		return 0, err
	}
	state := iperfState(one[0])
	if state != iperfServerError {
		return state, nil
	}
	var numbers [8]byte // its own, and the system's
	if _, err := io.ReadFull(t.conn, numbers[:]); err != nil {
		return state, err
	}
	return state, fmt.Errorf("it has failed, with error %d of iperf3 and errno %d", int32(binary.BigEndian.Uint32(numbers[:])), int32(binary.BigEndian.Uint32(numbers[4:])))
}

func (t *iperfTest) expect(want iperfState) error {
	state, err := t.hear()
	if err == nil && state != want {
		err = iperfUnexpected(state, want)
	}
	return err
}

func iperfUnexpected(state, want iperfState) error {
	switch state {
	case iperfAccessDenied:
		return errors.New("the server is busy running a test")
	case iperfServerTerminate:
		return errors.New("the server has ended the test")
	}
	return fmt.Errorf("it said state %d, and %d was due", state, want)
}

func (t *iperfTest) sendJSON(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = t.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

func (t *iperfTest) receiveJSON(v any) error {
	var size [4]byte
	if _, err := io.ReadFull(t.conn, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > iperfMaxJSON {
		return fmt.Errorf("results of %d bytes are more than %d", n, iperfMaxJSON)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(t.conn, text); err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return nil
}

// beginIperf has the server begin when all connections are made.
func (r *run) beginIperf() error {
	if r.iperf == nil {
		return nil
	}
	if c := &r.result.Connect; c.Failed > 0 {
		return fmt.Errorf("%s: the server waits for all of its %d streams, and %d could not be connected: %s", ProtocolIperf3, c.Wanted, c.Failed, r.result.Faults[0])
	}
	return r.iperf.begin(r.cancel)
}

// endIperf compares what the server has received with what was sent.
func (r *run) endIperf() error {
	if r.iperf == nil {
		return nil
	}
	var conns []*conn
	var sent []int64
	for _, w := range r.workers {
		for i := range w.conns {
			c := &w.conns[i]
			if c.state != stateOpen {
				conns, sent = append(conns, nil), append(sent, 0) // its fault has been told
				continue
			}
			conns, sent = append(conns, c), append(sent, c.more.bytes)
		}
	}
	if err := r.awaitAcknowledged(); err != nil {
		return err
	}
	results, err := r.iperf.end(sent)
	if err != nil {
		return err
	}
	receipt := &result.Receipt{Streams: len(results.Streams)}
	received := make([]int64, len(results.Streams))
	for i, stream := range results.Streams {
		received[i] = int64(stream.Bytes)
		receipt.Bytes += received[i]
		receipt.Seconds = max(receipt.Seconds, stream.End-stream.Start)
	}
	r.result.Receipt = receipt
	for i, got := range pairIperf(sent, received) {
		c := conns[i]
		switch {
		case c == nil:
		case got == sent[i]:
			r.result.Check.Checked += int64(c.seq)
		default:
			fault := fmt.Errorf("connection %d of %d to %v: the server has received %d bytes, and %d were sent", c.id+1, r.opts.Conns, r.remotes[0], got, sent[i])
			if r.opts.FailFast {
				return fault
			}
			r.result.Check.Lost++
			r.result.Faults = appendFaults(r.result.Faults, []string{fault.Error()})
			r.result.Errors = addErrors(r.result.Errors, map[string]int64{kindContent: 1})
		}
	}
	return nil
}

// pairIperf finds what was received of each that was sent: -1 if nothing is known of it. The server numbers streams in the order in which it has accepted them, which need not be that of the
// connections. So those that agree belong together, and of the others the first to the first.
func pairIperf(sent, received []int64) []int64 {
	pairs := make([]int64, len(sent))
	left := slices.Clone(received)
	var open []int
	for i, bytes := range sent {
		if at := slices.Index(left, bytes); at >= 0 {
			pairs[i] = bytes
			left = slices.Delete(left, at, at+1)
		} else {
			open = append(open, i)
		}
	}
	for n, i := range open {
		if pairs[i] = -1; n < len(left) {
			pairs[i] = left[n]
		}
	}
	return pairs
}

// iperfPause is how long a server has at least to read what its kernel has acknowledged. It does not say when it has, and what it has not read when the test
// ends it does not count.
const iperfPause = 500 * time.Millisecond

// awaitAcknowledged waits until the server's kernel has all bytes, as far as that can be known, and then for the server to read them: for iperfPause, or much longer
// than the last of them took to get there, for no more wait there than on the way. At most it takes as long as a drain.
func (r *run) awaitAcknowledged() error {
	began := time.Now()
	deadline := began.Add(r.opts.Drain)
	for r.unacknowledged() && time.Now().Before(deadline) {
		if err := r.iperf.sleep(time.Millisecond); err != nil {
			return err
		}
	}
	return r.iperf.sleep(min(max(iperfPause, 16*time.Since(began)), max(iperfPause, time.Until(deadline))))
}

// unacknowledged reports whether a kernel still has something to send or to hear of.
func (r *run) unacknowledged() bool {
	for _, w := range r.workers {
		for i := range w.conns {
			if c := &w.conns[i]; c.state == stateOpen && native(w.kernel) && unacknowledged(c.fd) > 0 {
				return true
			}
		}
	}
	return false
}

// sleep ends early with whoever has asked for the run.
func (t *iperfTest) sleep(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-t.ctx.Done():
		return context.Cause(t.ctx)
	}
}
