//go:build linux

package load_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/sys/kerneltest"
)

// quickDatagrams is quick over UDP, where nothing is taken for lost that a slow machine answers late.
func quickDatagrams(addr net.Addr) load.Options {
	o := quick(addr)
	o.LostAfter = patience
	return o
}

// startPackets has a server of datagrams that a test has made run until the test ends.
func startPackets(t *testing.T, conn net.PacketConn, handle func(reply func([]byte), peer net.Addr, data []byte)) net.Addr {
	t.Helper()
	var all sync.WaitGroup
	all.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			handle(func(data []byte) { conn.WriteTo(data, from) }, from, buffer[:n])
		}
	})
	t.Cleanup(func() {
		conn.Close()
		all.Wait()
	})
	return conn.LocalAddr()
}

// listenPackets has room for what several connections send at once.
func listenPackets(t *testing.T) net.PacketConn {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, conn.(*net.UDPConn).SetReadBuffer(4<<20))
	return conn
}

func echoPackets(reply func([]byte), _ net.Addr, data []byte) { reply(data) }

// number is which message of its connection a datagram is; 0 is the one that a connection begins with.
func number(data []byte) uint32 { return binary.BigEndian.Uint32(data[4:]) }

// requireAllBack wants a run over UDP in which nothing was lost.
func requireAllBack(t *testing.T, o load.Options, run *result.Run) {
	t.Helper()
	require.Empty(t, run.Invalid)
	require.Empty(t, run.Errors)
	require.Empty(t, run.Faults)
	require.Equal(t, result.Check{Checked: run.Check.Checked, Datagrams: true, Reordered: run.Check.Reordered}, run.Check)
	require.Equal(t, o.Conns, run.Connect.Made)
	require.EqualValues(t, o.Conns, run.Connect.Latency.TotalCount())
	op := run.Operations[load.WorkloadEcho]
	require.NotNil(t, op)
	require.Zero(t, op.Censored)
	require.Positive(t, op.Count)
	require.Equal(t, op.Count, op.Response.TotalCount())
	require.Equal(t, op.Count, op.Service.TotalCount())
}

func TestDatagrams(t *testing.T) {
	servers := map[string]func(t *testing.T) net.Addr{
		"package net":       func(t *testing.T) net.Addr { return startPackets(t, listenPackets(t), echoPackets) },
		"a socket for each": func(t *testing.T) net.Addr { return startPackets(t, listenPackets(t), echoPackets) },
		"coserver.ListenPacket": func(t *testing.T) net.Addr {
			conn, err := coserver.ListenPacket("udp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, conn.SetReadBuffer(4<<20))
			return startPackets(t, conn, echoPackets)
		},
		"engine coserver": func(t *testing.T) net.Addr { return startEngine(t, server.EngineCoserver, server.ProtoUDPEcho) },
		"engine net":      func(t *testing.T) net.Addr { return startEngine(t, server.EngineNet, server.ProtoUDPEcho) },
	}
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			addr := start(t)
			for _, c := range []struct {
				name   string
				change func(*load.Options)
			}{
				{"closed", func(*load.Options) {}},
				{"several in flight", func(o *load.Options) { o.Depth = 7 }},
				{"batches", func(o *load.Options) { o.Batch, o.Depth = 3, 2 }},
				{"max", func(o *load.Options) { o.Pace = load.PaceMax }},
				{"threads", func(o *load.Options) { o.Threads = 3 }},
				{"constant", func(o *load.Options) { o.Rate = 1000 }},
				{"poisson", func(o *load.Options) { o.Rate, o.Pace = 1000, load.PacePoisson }},
				{"uniform", func(o *load.Options) { o.Rate, o.Pace, o.Threads = 1000, load.PaceUniform, 2 }},
				{"windows", func(o *load.Options) { o.Windows, o.Warmup, o.Window = 3, 0, 100*time.Millisecond }},
				{"the smallest", func(o *load.Options) { o.Size = load.FixedSize(20) }},
				{"the largest", func(o *load.Options) { o.Size = load.FixedSize(65_507) }},
				{"a range of sizes", func(o *load.Options) { o.Size, o.Depth = sizes(t, "20-3000"), 4 }},
				{"sizes with weights", func(o *load.Options) { o.Size = sizes(t, "20:9,9000:1") }},
				{"lognormal sizes", func(o *load.Options) { o.Size = sizes(t, "lognormal:100,2") }},
				{"connect rate", func(o *load.Options) { o.ConnectRate, o.Conns = 200, 20 }},
			} {
				t.Run(c.name, func(t *testing.T) {
					o := quickDatagrams(addr)
					o.Window = 150 * time.Millisecond
					if name == "a socket for each" {
						o.Sources = []string{"127.0.0.1"}
					}
					c.change(&o)
					run, err := load.Run(t.Context(), o)
					require.NoError(t, err)
					requireAllBack(t, o, run)
					require.Len(t, run.Windows, max(o.Windows, 1))
					op := run.Operations[load.WorkloadEcho]
					if o.Rate == 0 {
						require.Zero(t, op.Lag.TotalCount())
						return
					}
					require.Equal(t, op.Count, op.Lag.TotalCount())
					require.InDelta(t, o.Rate*o.Window.Seconds(), op.Count, o.Rate*o.Window.Seconds()/4, "what was planned has happened")
				})
			}
		})
	}
}

// Each connection is a peer of its own, from the addresses and to the ports that it should have, in its turn.
func TestDatagramPeers(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[netip.Addr]map[netip.AddrPort]bool)
	count := func(reply func([]byte), peer net.Addr, data []byte) {
		from := peer.(*net.UDPAddr).AddrPort()
		mu.Lock()
		if seen[from.Addr()] == nil {
			seen[from.Addr()] = make(map[netip.AddrPort]bool)
		}
		seen[from.Addr()][from] = true
		mu.Unlock()
		reply(data)
	}
	var ports []int
	for range 2 {
		ports = append(ports, startPackets(t, listenPackets(t), count).(*net.UDPAddr).Port)
	}
	o := quickDatagrams(&net.UDPAddr{})
	o.Addr = fmt.Sprintf("127.0.0.1:%d,%d", ports[0], ports[1])
	o.Conns, o.Sources = 24, []string{"127.0.3.0/29"}
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	requireAllBack(t, o, run)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, seen, 6)
	for source, peers := range seen {
		require.Len(t, peers, 4, source)
	}
}

// Without sources that were asked for, peers on loopback have addresses of their own and share sockets. Nobody is mistaken for another.
func TestDatagramPeersThatShare(t *testing.T) {
	var mu sync.Mutex
	peers := make(map[uint32]netip.AddrPort)
	o := quickDatagrams(startPackets(t, listenPackets(t), func(reply func([]byte), peer net.Addr, data []byte) {
		from := peer.(*net.UDPAddr).AddrPort()
		mu.Lock()
		if known, ok := peers[binary.BigEndian.Uint32(data)]; ok && known != from {
			t.Errorf("a connection sends from %v and from %v", known, from)
		}
		peers[binary.BigEndian.Uint32(data)] = from
		mu.Unlock()
		reply(data)
	}))
	o.Conns, o.Threads, o.Depth = 700, 2, 2
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	requireAllBack(t, o, run)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, peers, 700)
	distinct := make(map[netip.AddrPort]bool)
	ports := make(map[uint16]bool)
	for _, from := range peers {
		distinct[from] = true
		ports[from.Port()] = true
	}
	require.Len(t, distinct, 700)
	if os.Getenv(kerneltest.Variable) == "" {
		require.LessOrEqual(t, len(ports), 4)
	}
}

// Idle connections send when it is time to, and only then.
func TestDatagramHeartbeats(t *testing.T) {
	o := quickDatagrams(startPackets(t, listenPackets(t), echoPackets))
	o.Conns, o.Active, o.Heartbeat, o.Warmup = 10, 2, 100*time.Millisecond, 0
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	requireAllBack(t, o, run)
	require.EqualValues(t, 8*3, run.Operations["heartbeat"].Count)
}

// What goes wrong on the way is counted, each kind for itself and exactly, and ends nothing.
func TestFaultsOfDatagrams(t *testing.T) {
	t.Run("sockets are shared", func(t *testing.T) { testFaultsOfDatagrams(t, nil) })
	t.Run("a socket for each", func(t *testing.T) { testFaultsOfDatagrams(t, []string{"127.0.0.1"}) })
}

func testFaultsOfDatagrams(t *testing.T, sources []string) {
	const operations = 300
	chosen := func(data []byte) bool { return number(data)%10 == 3 }
	for _, c := range []struct {
		name  string
		reply func(reply func([]byte), data []byte) // data is one of those that are chosen
		want  func(chosen int64) result.Check
		fault string
	}{
		{"lost", func(func([]byte), []byte) {},
			func(n int64) result.Check { return result.Check{Lost: n} }, ""},
		{"twice", func(reply func([]byte), data []byte) { reply(data); reply(data) },
			func(n int64) result.Check { return result.Check{Duplicated: n} }, ""},
		{"a wrong byte", func(reply func([]byte), data []byte) { data[60] ^= 1; reply(data) },
			func(n int64) result.Check { return result.Check{Corrupt: n} }, "message 4, byte 61 of 64: a wrong byte came back"},
		{"a wrong byte in the planned time", func(reply func([]byte), data []byte) { data[10] ^= 1; reply(data) },
			func(n int64) result.Check { return result.Check{Corrupt: n} }, "message 4, byte 11 of 64: a wrong byte came back"},
		{"too short", func(reply func([]byte), data []byte) { reply(data[:63]) },
			func(n int64) result.Check { return result.Check{Corrupt: n} }, "message 4 came back with 63 bytes, not 64"},
		{"too long", func(reply func([]byte), data []byte) { reply(append(data, 0)) },
			func(n int64) result.Check { return result.Check{Corrupt: n} }, "message 4 came back with 65 bytes, not 64"},
		{"nothing that can be recognised", func(reply func([]byte), data []byte) { reply(nil) },
			func(n int64) result.Check { return result.Check{Corrupt: n, Lost: n} }, "a datagram of 0 bytes came back that is none of those that were sent"},
		{"another connection", func(reply func([]byte), data []byte) { data[3] ^= 1; reply(data) },
			func(n int64) result.Check { return result.Check{Corrupt: n, Lost: n} }, "that is none of those that were sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var faults int64
			o := quickDatagrams(startPackets(t, listenPackets(t), func(reply func([]byte), _ net.Addr, data []byte) {
				if !chosen(data) {
					reply(data)
					return
				}
				mu.Lock()
				faults++
				mu.Unlock()
				c.reply(reply, data)
			}))
			o.FailFast, o.LostAfter, o.Warmup, o.Rate, o.Sources = false, 2*time.Second, 0, operations/o.Window.Seconds(), sources
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err)
			mu.Lock()
			injected := faults
			mu.Unlock()
			require.EqualValues(t, operations/10, injected)
			want := c.want(injected)
			want.Datagrams, want.Checked = true, operations
			if c.name != "twice" {
				want.Checked -= injected
			}
			require.Equal(t, want, run.Check)
			op := run.Operations[load.WorkloadEcho]
			if want.Lost > 0 { // they are in the histograms: no operation is left out because it has no answer
				require.EqualValues(t, operations, op.Count)
				require.EqualValues(t, injected, op.Censored)
				require.GreaterOrEqual(t, op.Response.ValueAtQuantile(95), int64(1990*time.Millisecond))
				require.GreaterOrEqual(t, op.Service.ValueAtQuantile(95), int64(1990*time.Millisecond))
			}
			require.Less(t, op.Service.ValueAtQuantile(50), int64(time.Second))
			if c.fault == "" {
				require.Empty(t, run.Errors)
				require.Empty(t, run.Faults)
				return
			}
			require.Equal(t, map[string]int64{"wrong content": injected}, run.Errors)
			require.Contains(t, run.Faults[0], c.fault)
			require.Contains(t, run.Faults[0], " of 5 to 127.0.0.1:")

			o.FailFast = true
			_, err = load.Run(t.Context(), o)
			require.ErrorContains(t, err, c.fault)
		})
	}
}

// Answers that overtake each other are told apart from those that are lost.
func TestReorderedDatagrams(t *testing.T) {
	held := make(map[uint32][]byte) // by connection
	var swapped int64
	o := quickDatagrams(startPackets(t, listenPackets(t), func(reply func([]byte), _ net.Addr, data []byte) {
		conn := binary.BigEndian.Uint32(data)
		if number(data)%10 == 3 {
			held[conn] = bytes.Clone(data)
			return
		}
		reply(data)
		if first := held[conn]; first != nil {
			reply(first)
			delete(held, conn)
			swapped++
		}
	}))
	o.Warmup, o.Rate = 0, 1000
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, result.Check{Checked: 300, Reordered: 30, Datagrams: true}, run.Check)
	require.EqualValues(t, 300, run.Operations[load.WorkloadEcho].Count)
	requireAllBack(t, o, run)
}

// An answer that comes when its datagram was given up is late, and no second one; but the next to the same is.
func TestLateDatagrams(t *testing.T) {
	over := make(chan struct{})
	var all sync.WaitGroup
	o := quickDatagrams(startPackets(t, listenPackets(t), func(reply func([]byte), _ net.Addr, data []byte) {
		if number(data) != 3 {
			reply(data)
			return
		}
		data = bytes.Clone(data)
		all.Go(func() {
			<-over
			reply(data)
			reply(data)
		})
	}))
	t.Cleanup(all.Wait)
	o.Conns, o.Rate, o.Warmup, o.LostAfter, o.Windows, o.Window = 1, 10, 0, time.Second, 4, time.Second
	o.OnPhase = func(p load.Phase) error {
		if p.Name == load.PhaseWindow && p.Window == 3 { // it was sent at 0.2 s
			close(over)
		}
		return nil
	}
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, result.Check{Checked: 39, Lost: 1, Late: 1, Duplicated: 1, Datagrams: true}, run.Check)
	require.EqualValues(t, 40, run.Operations[load.WorkloadEcho].Count)
}

// Lost datagrams give their places free, so that a closed loop goes on, also far beyond what was sent at first.
func TestClosedLoopGoesOnAfterLosses(t *testing.T) {
	for _, batch := range []int{1, 3} {
		var mu sync.Mutex
		lost := int64(0)
		o := quickDatagrams(startPackets(t, listenPackets(t), func(reply func([]byte), _ net.Addr, data []byte) {
			if n := number(data); n > 0 && n%100 == 0 {
				mu.Lock()
				lost++
				mu.Unlock()
				return
			}
			reply(data)
		}))
		o.Conns, o.Depth, o.Batch, o.Warmup, o.LostAfter, o.Window = 2, 4, batch, 0, 100*time.Millisecond, time.Second
		run, err := load.Run(t.Context(), o)
		require.NoError(t, err)
		mu.Lock()
		require.Positive(t, lost)
		require.GreaterOrEqual(t, run.Check.Lost, lost)
		require.GreaterOrEqual(t, run.Check.Checked, 30*lost, "what is lost holds up one place, not the connection")
		mu.Unlock()
		require.GreaterOrEqual(t, run.Operations[load.WorkloadEcho].Censored, lost/int64(batch))
	}
}

// A server that stands still makes operations late that were to begin meanwhile, and each of them says so, whether its predecessor was lost or not.
func TestStopOfDatagramsShowsInResponse(t *testing.T) {
	for _, lostAfter := range []time.Duration{patience, 100 * time.Millisecond} {
		child := startChild(t, server.ProtoUDPEcho)
		o := quickDatagrams(&net.UDPAddr{})
		o.Addr, o.Conns, o.Rate, o.Window, o.Depth, o.LostAfter = child.Addr, 10, 500, 4*time.Second, 1, lostAfter
		o.OnPhase = func(p load.Phase) error {
			if p.Name != load.PhaseWindow {
				return nil
			}
			time.AfterFunc(time.Second, func() { syscall.Kill(child.PID(), syscall.SIGSTOP) })
			time.AfterFunc(2*time.Second, func() { syscall.Kill(child.PID(), syscall.SIGCONT) })
			return nil
		}
		run, err := load.Run(t.Context(), o)
		require.NoError(t, err)
		op := run.Operations[load.WorkloadEcho]
		require.EqualValues(t, 2000, op.Count)
		require.Greater(t, op.Response.ValueAtQuantile(90), int64(0.3e9))
		require.Greater(t, op.Response.ValueAtQuantile(99), int64(0.6e9))
		require.Less(t, op.Service.ValueAtQuantile(90), int64(0.1e9)+int64(lostAfter)/2, "few had been sent")
		require.Less(t, run.Generator.Late, int64(0.1e9), "the generator itself was on time")
		if lostAfter == patience {
			require.Zero(t, run.Check.Lost)
			require.Greater(t, op.Service.Max(), int64(0.8e9))
			continue
		}
		require.GreaterOrEqual(t, run.Check.Lost, int64(60), "each connection sends again and again")
		require.Positive(t, run.Check.Late, "the kernel had kept them")
		require.Equal(t, run.Check.Lost, op.Censored)
		require.Equal(t, int64(2000), run.Check.Lost+run.Check.Checked-checkedBefore(run))
	}
}

// checkedBefore is how many answers were checked that belong to no window.
func checkedBefore(run *result.Run) int64 {
	op := run.Operations[load.WorkloadEcho]
	return run.Check.Checked + run.Check.Lost - op.Count
}

// Where nobody listens, or answers, there is no connection: it is not found at the end of the run.
func TestNobodyAnswersDatagrams(t *testing.T) {
	refused := "connection refused"
	if os.Getenv(kerneltest.Variable) != "" { // its sockets are not connected, and hear of nothing
		refused = "connect: no answer for 200ms"
	}
	nobody := listenPackets(t)
	require.NoError(t, nobody.Close())
	silent := startPackets(t, listenPackets(t), func(func([]byte), net.Addr, []byte) {})
	wrong := startPackets(t, listenPackets(t), func(reply func([]byte), _ net.Addr, data []byte) { reply([]byte("what?")) })
	for _, fast := range []bool{true, false} {
		for want, addr := range map[string]net.Addr{
			refused:                                nobody.LocalAddr(),
			"connect: no answer for 200ms":         silent,
			"the first datagram came back changed": wrong,
		} {
			o := quickDatagrams(addr)
			o.FailFast, o.Stall, o.Window = fast, 200*time.Millisecond, time.Hour
			_, err := load.Run(t.Context(), o)
			require.ErrorContains(t, err, " of 5 to "+addr.String())
			require.ErrorContains(t, err, want)
		}
	}
}

// A first datagram that is lost is sent again.
func TestFirstDatagramIsSentAgain(t *testing.T) {
	tries := make(map[uint32]int)
	o := quickDatagrams(startPackets(t, listenPackets(t), func(reply func([]byte), _ net.Addr, data []byte) {
		conn := binary.BigEndian.Uint32(data)
		if tries[conn]++; tries[conn] > 2 {
			reply(data)
		}
	}))
	o.Stall = patience
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	requireAllBack(t, o, run)
	require.Greater(t, run.Connect.Latency.Min(), int64(300*time.Millisecond))
}

// A server from which nothing comes back is an error, and no run with good figures.
func TestAllDatagramsLost(t *testing.T) {
	o := quickDatagrams(startPackets(t, listenPackets(t), func(reply func([]byte), _ net.Addr, data []byte) {
		if number(data) == 0 {
			reply(data)
		}
	}))
	o.LostAfter, o.Warmup, o.Rate = 10*time.Millisecond, 0, 30_000 // more than are remembered
	_, err := load.Run(t.Context(), o)
	require.ErrorContains(t, err, "nothing came back from "+o.Addr)
	require.ErrorContains(t, err, "datagrams were lost")
}

func TestDatagramsThatCannotBe(t *testing.T) {
	for want, change := range map[string]func(*load.Options){
		"workload: sink is none of UDP, only echo is":                func(o *load.Options) { o.Workload = load.WorkloadSink },
		"workload: churn is none of UDP":                             func(o *load.Options) { o.Workload = load.WorkloadChurn },
		"protocol: http is none of UDP":                              func(o *load.Options) { o.Protocol = load.ProtocolHTTP },
		"tls: it is not spoken over UDP":                             func(o *load.Options) { o.TLS = &load.TLS{} },
		"framing: over UDP a message is a datagram":                  func(o *load.Options) { o.Framing = load.FramingLine },
		"slow: over UDP":                                             func(o *load.Options) { o.Slow = 1 },
		"size: a datagram has 20 bytes at least, for its stamp, and": func(o *load.Options) { o.Size = load.FixedSize(19) },
		"65507 at most, not 65508":                                   func(o *load.Options) { o.Size = load.FixedSize(65_508) },
		"not lognormal:100,1,70000":                                  func(o *load.Options) { o.Size = sizes(t, "lognormal:100,1,70000") },
		"lost-after: 1µs is not between":                             func(o *load.Options) { o.LostAfter = time.Microsecond },
		"lost-after: -1s is not between":                             func(o *load.Options) { o.LostAfter = -time.Second },
		"lost-after: over tcp nothing is lost":                       func(o *load.Options) { o.Network, o.LostAfter = "tcp", time.Second },
		"source: ::1 cannot connect to 127.0.0.1":                    func(o *load.Options) { o.Sources = []string{"::1"} },
	} {
		o := quick(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		change(&o)
		_, err := load.Run(t.Context(), o)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
}
