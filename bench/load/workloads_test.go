//go:build linux

package load_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/server"
)

// requireFaultless wants a run in which nothing is wrong.
func requireFaultless(t *testing.T, run *result.Run) {
	t.Helper()
	require.Empty(t, run.Errors)
	require.Empty(t, run.Faults)
	require.Equal(t, result.Check{Checked: run.Check.Checked}, run.Check)
	for name, op := range run.Operations {
		require.Positive(t, op.Count, name)
		require.Zero(t, op.Censored, name)
	}
}

func TestWorkloads(t *testing.T) {
	for _, c := range []struct {
		workload, name string
		change         func(*load.Options)
		operations     []string
	}{
		{load.WorkloadSink, "closed", func(o *load.Options) { o.Size, o.Depth = load.FixedSize(3000), 4 }, []string{"sink"}},
		{load.WorkloadSink, "max", func(o *load.Options) { o.Pace, o.Threads = load.PaceMax, 2 }, []string{"sink"}},
		{load.WorkloadSink, "open", func(o *load.Options) { o.Rate = 1000 }, []string{"sink"}},
		{load.WorkloadPush, "max", func(o *load.Options) { o.Threads = 2 }, []string{"push"}},
		{load.WorkloadPush, "rate", func(o *load.Options) { o.Rate, o.Size = 2000, sizes(t, "24-3000") }, []string{"push"}},
		{load.WorkloadBroadcast, "one sends", func(o *load.Options) { o.Conns, o.Threads = 20, 1 }, []string{"broadcast", "delivery"}},
		{load.WorkloadBroadcast, "some send", func(o *load.Options) {
			o.Conns, o.Threads, o.Active, o.Rate = 20, 2, 3, 300
		}, []string{"broadcast", "delivery"}},
		{load.WorkloadChurn, "closed", func(o *load.Options) { o.Threads = 2 }, []string{"churn", "connect"}},
		{load.WorkloadChurn, "open", func(o *load.Options) { o.Rate, o.Batch = 300, 3 }, []string{"churn", "connect"}},
	} {
		proto := map[string]string{load.WorkloadSink: server.ProtoSink, load.WorkloadPush: server.ProtoPush, load.WorkloadBroadcast: server.ProtoBroadcast,
			load.WorkloadChurn: server.ProtoEcho}[c.workload]
		for _, engine := range []string{server.EngineNet, server.EngineCoserver, server.EngineLoop} {
			if engine == server.EngineLoop && (c.workload == load.WorkloadPush || c.workload == load.WorkloadBroadcast) {
				continue
			}
			t.Run(c.workload+" "+c.name+" "+engine, func(t *testing.T) {
				o := quick(startEngine(t, engine, proto))
				o.Workload, o.FailFast, o.Settle = c.workload, false, 50*time.Millisecond
				o.Window = 300 * time.Millisecond
				c.change(&o)
				run, err := load.Run(t.Context(), o)
				require.NoError(t, err)
				requireFaultless(t, run)
				require.ElementsMatch(t, c.operations, keysOf(run.Operations))
				if engine != server.EngineLoop {
					require.Positive(t, run.Check.Checked)
				}
				if o.Rate > 0 {
					due := o.Rate * o.Window.Seconds()
					require.LessOrEqual(t, float64(run.Operations[c.workload].Count), 1.25*due)
					if c.workload == load.WorkloadPush {
						due -= o.Rate * 0.15 // the server may begin so late, and plans from then on
					}
					require.GreaterOrEqual(t, float64(run.Operations[c.workload].Count), 0.75*due)
				}
				if c.workload == load.WorkloadBroadcast {
					require.EqualValues(t, 0, run.Check.Checked%int64(o.Conns), "each has had all")
					require.InEpsilon(t, run.Operations["broadcast"].Count*int64(o.Conns), run.Operations["delivery"].Count, 0.2)
				}
			})
		}
	}
}

func keysOf[V any](m map[string]V) (all []string) {
	for key := range m {
		all = append(all, key)
	}
	return all
}

func TestHeartbeatsOfTheIdle(t *testing.T) {
	o := quick(startServer(t, server.ProtoEcho))
	o.Conns, o.Active, o.Threads, o.Heartbeat, o.Window = 60, 4, 2, 100*time.Millisecond, time.Second
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	requireFaultless(t, run)
	require.InEpsilon(t, 560, run.Operations["heartbeat"].Count, 0.1)
	require.Equal(t, run.Operations["heartbeat"].Count, run.Operations["heartbeat"].Lag.TotalCount())
	require.Zero(t, run.Operations["echo"].Lag.TotalCount(), "the loop of the others is closed")
}

// Readers that do not read keep their server from nobody else, and lose nothing.
func TestSlowReaders(t *testing.T) {
	for _, rate := range []int{0, 50000} {
		for _, engine := range []string{server.EngineNet, server.EngineCoserver, server.EngineLoop} {
			o := quick(startEngine(t, engine, server.ProtoEcho))
			o.Conns, o.Slow, o.SlowRate, o.Threads, o.Window = 8, 3, rate, 2, 300*time.Millisecond
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err, engine)
			requireFaultless(t, run)
		}
	}
}

func TestFaultsOfSinks(t *testing.T) {
	over := make(chan struct{})
	for want, handler := range map[string]func(net.Conn){
		"the server has received 5 bytes, and ": func(conn net.Conn) {
			io.Copy(io.Discard, conn)
			conn.Write([]byte{0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4})
		},
		"the receipt has 3 bytes, not 12": func(conn net.Conn) {
			io.Copy(io.Discard, conn)
			conn.Write([]byte("bye"))
		},
		"came back although nothing was due": func(conn net.Conn) {
			conn.Write([]byte("hello"))
			io.Copy(io.Discard, conn)
		},
		"the server closed it": func(conn net.Conn) {
			io.CopyN(io.Discard, conn, 1000)
			conn.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, conn)
		},
		"the server has not ended the connection": func(conn net.Conn) {
			io.Copy(io.Discard, conn)
			<-over
		},
	} {
		t.Run(want, func(t *testing.T) {
			o := quick(startHandler(t, handler))
			t.Cleanup(func() { // before that of the server
				select {
				case over <- struct{}{}:
				case <-time.After(10 * time.Millisecond): // nobody waits for it
				}
			})
			o.Workload, o.Conns, o.Rate, o.FailFast, o.Drain = load.WorkloadSink, 1, 200, false, 300*time.Millisecond
			run, err := load.Run(t.Context(), o)
			if err != nil { // it was given up before a window
				require.ErrorContains(t, err, want)
				return
			}
			require.NotEmpty(t, run.Faults)
			require.Contains(t, run.Faults[0], want)
		})
	}
}

func TestFaultsOfBroadcasts(t *testing.T) {
	// It drops, repeats or exchanges one of the first messages of 64 bytes that it sends back to its only connection.
	for want, c := range map[string]struct {
		change func(messages [][]byte) [][]byte
		check  result.Check
	}{
		"message 5 of connection 1 came instead of message 4": {func(m [][]byte) [][]byte { return append(m[:3:3], m[4:]...) }, result.Check{Lost: 1}},
		"message 6 of connection 1 came instead of message 5": {func(m [][]byte) [][]byte { m[4], m[5] = m[5], m[4]; return m }, result.Check{Reordered: 1}},
		"message 3 of connection 1 came again":                {func(m [][]byte) [][]byte { return append(m[:3:3], m[2:]...) }, result.Check{Duplicated: 1}},
		"a message has come whose checksum is wrong":          {func(m [][]byte) [][]byte { m[3][20] ^= 1; return m }, result.Check{Corrupt: 1}},
	} {
		t.Run(want, func(t *testing.T) {
			o := quick(startHandler(t, func(conn net.Conn) {
				var messages [][]byte
				for range 10 {
					m := make([]byte, 64)
					if _, err := io.ReadFull(conn, m); err != nil {
						return
					}
					messages = append(messages, m)
				}
				for _, m := range c.change(messages) {
					conn.Write(m)
				}
				io.Copy(conn, conn) // it holds nothing back when the window ends
			}))
			o.Workload, o.Conns, o.Depth, o.Warmup, o.Drain = load.WorkloadBroadcast, 1, 10, 0, 300*time.Millisecond
			_, err := load.Run(t.Context(), o)
			require.ErrorContains(t, err, want)

			o.FailFast = false
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err)
			require.Contains(t, run.Faults[0], want)
			run.Check.Checked = 0
			require.Equal(t, c.check, run.Check)
		})
	}
}

// A server that refuses later is not hidden: visits fail, and are counted.
func TestFaultsOfVisits(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o := quick(handle(t, listener, func(conn net.Conn) { io.Copy(conn, conn) }))
	o.Workload, o.FailFast, o.Warmup, o.Window = load.WorkloadChurn, false, 0, 500*time.Millisecond
	o.OnPhase = func(p load.Phase) error {
		if p.Name == load.PhaseWindow {
			time.AfterFunc(100*time.Millisecond, func() { listener.Close() })
		}
		return nil
	}
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	require.Positive(t, run.Operations["churn"].Count)
	require.Positive(t, run.Errors["connection refused"])
}

func TestRolesThatCannotBe(t *testing.T) {
	for want, change := range map[string]func(*load.Options){
		"active: 6 of 5":                            func(o *load.Options) { o.Active = 6 },
		"slow: 3 of 5 connections":                  func(o *load.Options) { o.Active, o.Slow = 3, 3 },
		"slow: only workload echo":                  func(o *load.Options) { o.Slow, o.Framing = 1, load.FramingLine },
		"slow-rate":                                 func(o *load.Options) { o.SlowRate = -1 },
		"heartbeat: -1ns":                           func(o *load.Options) { o.Heartbeat = -1 },
		"heartbeat: workload sink has none":         func(o *load.Options) { o.Heartbeat, o.Workload = 1, load.WorkloadSink },
		"threads: 2 are more than there are active": func(o *load.Options) { o.Threads, o.Active = 2, 1 },
		"active: every connection":                  func(o *load.Options) { o.Active, o.Workload = 2, load.WorkloadPush },
		"framing: workload push needs":              func(o *load.Options) { o.Workload, o.Framing = load.WorkloadPush, load.FramingLine },
		"size: 23 is less":                          func(o *load.Options) { o.Workload, o.Size = load.WorkloadBroadcast, load.FixedSize(23) },
		"depth: a connection of workload churn":     func(o *load.Options) { o.Workload, o.Depth = load.WorkloadChurn, 2 },
	} {
		o := quick(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		change(&o)
		require.ErrorContains(t, o.Validate(), want)
	}
}

func TestPushOrders(t *testing.T) {
	order := load.PushOrder{Conn: 7, Rate: 12.5, Size: sizes(t, "64:9,1024:1")}
	text := order.String()
	require.Equal(t, "push 7 12.5 64:9,1024:1\n", text)
	back, err := load.ParsePushOrder(text[:len(text)-1])
	require.NoError(t, err)
	require.Equal(t, order, back)
	for line, want := range map[string]string{
		"pull 1 2 64":      "is not push",
		"push 1 2":         "is not push",
		"push 1 -2 64":     "no rate",
		"push 1 NaN 64":    "no rate",
		"push 1 2 9":       "no room for a stamp",
		"push 1 2 1-2:x":   "no weight",
		"push 99999999999": "is not push",
	} {
		_, err := load.ParsePushOrder(line)
		require.ErrorContains(t, err, want, line)
	}
}
