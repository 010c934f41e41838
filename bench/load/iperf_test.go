//go:build linux

package load_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
)

// What iperf3's ends say to each other (iperf_api.h).
const (
	testStart, testRunning, testEnd = 1, 2, 4
	paramExchange, createStreams    = 9, 10
	serverTerminate                 = 11
	clientTerminate                 = 12
	exchangeResults, displayResults = 13, 14
	iperfDone                       = 16
	accessDenied, serverError       = 0xff, 0xfe
)

// iperfServer does what iperf3 -s does, for one test. Fields that are set make it do something else.
type iperfServer struct {
	atStart   func(control net.Conn) bool // instead of asking for parameters
	atStreams func(control net.Conn) bool // instead of waiting for its streams
	atTest    func(control net.Conn) bool // when the test runs; true says that it is over
	atCount   func(bytes []int64) []int64 // what it says that it has received

	mu      sync.Mutex
	changed sync.Cond
	cookie  string  // of its client
	streams []int64 // what has come of each
	said    []byte  // what the client has said after the parameters
	params  map[string]any
}

func startIperf(t *testing.T, s *iperfServer) net.Addr {
	s.changed.L = &s.mu
	return startHandler(t, s.serve)
}

func (s *iperfServer) serve(conn net.Conn) {
	cookie := make([]byte, 37)
	if _, err := io.ReadFull(conn, cookie); err != nil {
		return
	}
	s.mu.Lock()
	first := s.cookie == ""
	if first {
		s.cookie = string(cookie)
	}
	ours := s.cookie == string(cookie) && cookie[36] == 0
	s.mu.Unlock()
	switch {
	case first:
		if err := s.control(conn); err != nil && !errors.Is(err, io.EOF) {
			conn.Close()
		}
	case ours:
		s.receive(conn)
	}
}

func (s *iperfServer) receive(conn net.Conn) {
	s.mu.Lock()
	number := len(s.streams)
	s.streams = append(s.streams, 0)
	s.changed.Broadcast()
	s.mu.Unlock()
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		s.mu.Lock()
		s.streams[number] += int64(n)
		s.changed.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits with the lock held.
func (s *iperfServer) await(done func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !done() {
		s.changed.Wait()
	}
}

func say(conn net.Conn, state byte) { _, _ = conn.Write([]byte{state}) }

func (s *iperfServer) control(conn net.Conn) error {
	if s.atStart != nil && s.atStart(conn) {
		return nil
	}
	say(conn, paramExchange)
	if err := receiveJSON(conn, &s.params); err != nil {
		return err
	}
	wanted := int(s.params["parallel"].(float64))
	say(conn, createStreams)
	if s.atStreams != nil && s.atStreams(conn) {
		return nil
	}
	s.await(func() bool { return len(s.streams) == wanted })
	say(conn, testStart)
	say(conn, testRunning)
	if s.atTest != nil && s.atTest(conn) {
		return nil
	}
	if err := s.hear(conn); err != nil || s.said[0] != testEnd {
		return err
	}
	say(conn, exchangeResults)
	var results struct{ Streams []map[string]any }
	if err := receiveJSON(conn, &results); err != nil {
		return err
	}
	var sent int64
	for _, stream := range results.Streams {
		sent += int64(stream["bytes"].(float64))
	}
	// A real one has had its time to read; this one knows what is to come.
	var counts []int64
	s.await(func() bool {
		var received int64
		for _, count := range s.streams {
			received += count
		}
		counts = append([]int64(nil), s.streams...)
		return received >= sent
	})
	if s.atCount != nil {
		counts = s.atCount(counts)
	}
	answer := `{"cpu_util_total":1.5,"sender_has_retransmits":18446744073709551615,"streams":[`
	for i, count := range counts {
		if i > 0 {
			answer += ","
		}
		answer += fmt.Sprintf(`{"id":%v,"bytes":%d,"retransmits":18446744073709551615,"jitter":0,"errors":0,"packets":0,"start_time":0,"end_time":2}`, results.Streams[i%len(results.Streams)]["id"], count)
	}
	sendText(conn, answer+"]}")
	say(conn, displayResults)
	return s.hear(conn)
}

// hear remembers what the client says.
func (s *iperfServer) hear(conn net.Conn) error {
	var one [1]byte
	_, err := io.ReadFull(conn, one[:])
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.said = append(s.said, one[0])
		s.changed.Broadcast()
	}
	return err
}

func sendText(conn net.Conn, text string) {
	_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
}

func receiveJSON(conn net.Conn, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	text := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, text); err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

func iperfOptions(addr net.Addr) load.Options {
	o := quick(addr)
	o.Workload, o.Protocol, o.Conns, o.Size = load.WorkloadSink, load.ProtocolIperf3, 3, load.FixedSize(128<<10)
	return o
}

func TestIperf(t *testing.T) {
	for name, change := range map[string]func(*load.Options){
		"closed":           func(*load.Options) {},
		"max, two threads": func(o *load.Options) { o.Pace, o.Threads, o.Size = load.PaceMax, 2, load.FixedSize(1000) },
		"open":             func(o *load.Options) { o.Rate = 300 },
		"one stream":       func(o *load.Options) { o.Conns, o.Size = 1, sizes(t, "1-5000") },
		"some are idle":    func(o *load.Options) { o.Conns, o.Active = 5, 2 },
	} {
		t.Run(name, func(t *testing.T) {
			var s iperfServer
			o := iperfOptions(startIperf(t, &s))
			change(&o)
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err)
			requireFaultless(t, run)
			require.Positive(t, run.Check.Checked)
			require.Len(t, run.Operations, 1)
			require.Positive(t, run.Operations["iperf3"].Count)
			require.EqualValues(t, o.Conns, s.params["parallel"])
			require.Equal(t, true, s.params["tcp"])
			var bytes int64
			s.await(func() bool {
				bytes = 0
				for _, count := range s.streams {
					bytes += count
				}
				return len(s.said) == 2
			})
			require.Equal(t, []byte{testEnd, iperfDone}, s.said)
			require.Equal(t, &result.Receipt{Streams: o.Conns, Bytes: bytes, Seconds: 2}, run.Receipt)
			require.GreaterOrEqual(t, bytes, run.Windows[0].BytesOut)
		})
	}
}

func TestFaultsOfIperf(t *testing.T) {
	one := func(state byte, more ...byte) func(net.Conn) bool {
		return func(conn net.Conn) bool {
			_, _ = conn.Write(append([]byte{state}, more...))
			_, _ = conn.Read(make([]byte, 1)) // until the client has had enough
			return true
		}
	}
	for want, s := range map[string]*iperfServer{
		"the server is busy running a test":                   {atStart: one(accessDenied)},
		"it has failed, with error 7 of iperf3 and errno 104": {atTest: one(serverError, 0, 0, 0, 7, 0, 0, 0, 104)},
		"the server has ended the test":                       {atTest: one(serverTerminate)},
		"it said state 99, and 2 was due":                     {atTest: one(99)},
		"it said state 14, and 9 was due":                     {atStart: one(displayResults)},
		"the server closed it":                                {atTest: func(conn net.Conn) bool { return conn.Close() == nil }},
		"all of its 3 streams, and 1 could not be connected: connection 2 of 3 to 127.": {atStreams: func(conn net.Conn) bool {
			_, _ = conn.Read(make([]byte, 1))
			return true
		}},
		"results of 4294967295 bytes are more than 10485760": {atTest: func(conn net.Conn) bool {
			_, _ = io.ReadFull(conn, make([]byte, 1))
			say(conn, exchangeResults)
			var results any
			_ = receiveJSON(conn, &results)
			_, _ = conn.Write([]byte{255, 255, 255, 255})
			_, _ = conn.Read(make([]byte, 1))
			return true
		}},
		"results: invalid character": {atTest: func(conn net.Conn) bool {
			_, _ = io.ReadFull(conn, make([]byte, 1))
			say(conn, exchangeResults)
			var results any
			_ = receiveJSON(conn, &results)
			sendText(conn, "nothing")
			_, _ = conn.Read(make([]byte, 1))
			return true
		}},
	} {
		t.Run(want, func(t *testing.T) {
			addr := startIperf(t, s)
			o := iperfOptions(addr)
			o.FailFast = false
			if s.atStreams != nil {
				o.Sources = []string{"127.0.0.1", "192.0.2.1", "127.0.0.1"} // the second is not this machine's (RFC 5737)
			}
			_, err := load.Run(t.Context(), o)
			require.ErrorContains(t, err, "iperf3")
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

// What has not come is told of the connection that has sent it, and only of that, in whatever order the server has the streams.
func TestIperfComparesWhatWasReceived(t *testing.T) {
	var missing int64
	s := &iperfServer{atCount: func(bytes []int64) []int64 {
		missing = bytes[1]
		return []int64{bytes[2], bytes[0], bytes[1] - 1}
	}}
	o := iperfOptions(startIperf(t, s))
	o.Size, o.FailFast = sizes(t, "1-100000"), false // no two streams send as much
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.EqualValues(t, 1, run.Check.Lost)
	require.Len(t, run.Faults, 1)
	require.Regexp(t, fmt.Sprintf(`^connection [123] of 3 to 127.*: the server has received %d bytes, and %d were sent$`, missing-1, missing), run.Faults[0])
	require.Equal(t, map[string]int64{"wrong content": 1}, run.Errors)
	require.Positive(t, run.Check.Checked, "the others are right")
}

// A run that ends early says so to the server.
func TestIperfIsGivenUp(t *testing.T) {
	running := make(chan struct{})
	s := new(iperfServer)
	s.atTest = func(conn net.Conn) bool {
		close(running)
		_ = s.hear(conn)
		return true
	}
	o := iperfOptions(startIperf(t, s))
	o.Window = time.Minute
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	o.OnPhase = func(p load.Phase) error {
		if p.Name == load.PhaseWindow {
			<-running
			return over
		}
		return nil
	}
	_, err := load.Run(ctx, o)
	require.ErrorIs(t, err, over)
	s.await(func() bool { return len(s.said) == 1 })
	require.Equal(t, []byte{clientTerminate}, s.said)

	// And one that its caller ends while the server is silent does not wait for it.
	silent := &iperfServer{atStart: func(conn net.Conn) bool {
		cancel(over)
		_, _ = conn.Read(make([]byte, 1))
		return true
	}}
	_, err = load.Run(ctx, iperfOptions(startIperf(t, silent)))
	require.ErrorIs(t, err, over)
}

func TestIperfThatCannotBe(t *testing.T) {
	for want, change := range map[string]func(*load.Options){
		"protocol: iperf3 is for workload sink, not echo": func(o *load.Options) { o.Workload = load.WorkloadEcho },
		"addr: protocol iperf3":                           func(o *load.Options) { o.Addr = "127.0.0.1:1-2" },
		"addr: protocol iperf3 is":                        func(o *load.Options) { o.Network = "unix" },
		"tls: protocol iperf3":                            func(o *load.Options) { o.TLS = &load.TLS{} },
		"shard: a server of iperf3":                       func(o *load.Options) { o.Shard = result.Shard{Index: 1, Of: 2} },
		"conns: a server of iperf3 takes 128":             func(o *load.Options) { o.Conns = 129 },
		"framing: protocol iperf3":                        func(o *load.Options) { o.Framing = load.FramingLine },
		"path: ":                                          func(o *load.Options) { o.Path = "/" },
		"protocol: workload sink has none":                func(o *load.Options) { o.Protocol = load.ProtocolHTTP },
	} {
		o := iperfOptions(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		change(&o)
		require.ErrorContains(t, o.Validate(), want)
	}
}
