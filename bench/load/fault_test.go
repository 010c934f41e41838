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
)

// after lets n messages of 64 bytes pass, and hands over the connection and the two that come next.
func after(n int64, then func(net.Conn, []byte, []byte)) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := io.CopyN(conn, conn, 64*n); err != nil {
			return
		}
		both := make([]byte, 128)
		if _, err := io.ReadFull(conn, both); err != nil {
			return
		}
		then(conn, both[:64], both[64:])
		io.Copy(io.Discard, conn)
	}
}

func TestFaultsAreFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		handle func(net.Conn)
		want   string // the error of a run that ends with it
		kind   string // of the error that is counted otherwise
		check  result.Check
	}{
		{"wrong byte", after(10, func(conn net.Conn, a, b []byte) {
			a[50] ^= 1
			conn.Write(a)
		}), "message 11, byte 51 of 64: a wrong byte came back", "wrong content", result.Check{Corrupt: 1}},
		{"wrong byte in a stamp", after(10, func(conn net.Conn, a, b []byte) {
			a[6] ^= 1
			conn.Write(a)
		}), "message 11, byte 7 of 64: a wrong byte came back", "wrong content", result.Check{Corrupt: 1}},
		{"wrong byte, split", after(10, func(conn net.Conn, a, b []byte) {
			a[3] ^= 1
			conn.Write(a[:7])
			time.Sleep(time.Millisecond) // it is to be read in two parts, mostly
			conn.Write(a[7:])
		}), "message 11, byte 4 of 64: a wrong byte came back", "wrong content", result.Check{Corrupt: 1}},
		{"surplus byte", after(10, func(conn net.Conn, a, b []byte) {
			conn.Write(a)
			conn.Write(append(b, 'x'))
		}), "came back", "wrong content", result.Check{Corrupt: 1}},
		{"lost", after(10, func(conn net.Conn, a, b []byte) { conn.Write(b) }),
			"message 12 came back instead of message 11", "wrong content", result.Check{Lost: 1}},
		{"reordered", after(10, func(conn net.Conn, a, b []byte) { conn.Write(append(append([]byte{}, b...), a...)) }),
			"message 12 came back before message 11", "wrong content", result.Check{Reordered: 1}},
		{"duplicated", after(10, func(conn net.Conn, a, b []byte) { conn.Write(append(append([]byte{}, a...), a...)) }),
			"message 11 came back again instead of message 12", "wrong content", result.Check{Duplicated: 1}},
		{"greeting", func(conn net.Conn) {
			conn.Write([]byte("*"))
			io.Copy(conn, conn)
		}, "came back", "wrong content", result.Check{Corrupt: 1}},
		{"early close", after(10, func(conn net.Conn, a, b []byte) {
			conn.Write(a[:7])
			conn.(*net.TCPConn).CloseWrite()
		}), "the server closed it after 7 of 64 bytes of a message", "closed by the server", result.Check{}},
		{"reset", after(10, func(conn net.Conn, a, b []byte) {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}), "connection reset by peer", "connection reset by peer", result.Check{}},
		{"stall", after(10, func(conn net.Conn, a, b []byte) { conn.Write(a[:9]) }),
			"stalled: nothing came back for 200ms, 9 of 64 bytes of a message before that", "stalled", result.Check{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := quick(startHandler(t, c.handle))
			o.Conns, o.Depth, o.Window, o.Stall = 2, 2, 30*time.Second, 200*time.Millisecond
			_, err := load.Run(t.Context(), o)
			require.ErrorContains(t, err, c.want)
			require.Regexp(t, `^connection [12] of 2 to 127\.0\.0\.1:\d+: `, err.Error())

			o.FailFast, o.Warmup, o.Window = false, 0, 600*time.Millisecond
			run, err := load.Run(t.Context(), o)
			if c.name == "greeting" {
				require.ErrorContains(t, err, "nothing came back within the windows; the first fault: connection ")
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{c.kind}, keys(run.Errors))
			require.Len(t, run.Faults, 2)
			require.Contains(t, run.Faults[0], c.want)
			run.Check.Checked = 0
			c.check.Lost, c.check.Reordered, c.check.Duplicated, c.check.Corrupt = 2*c.check.Lost, 2*c.check.Reordered, 2*c.check.Duplicated, 2*c.check.Corrupt
			require.Equal(t, c.check, run.Check)
			last := run.Intervals[len(run.Intervals)-1]
			require.Zero(t, last.Conns)
			require.Zero(t, last.InFlight)
		})
	}
}

func keys(m map[string]int64) (all []string) {
	for key := range m {
		all = append(all, key)
	}
	return all
}

func TestAnothersMessageIsFound(t *testing.T) {
	first := make(chan []byte, 1)
	o := quick(startHandler(t, func(conn net.Conn) {
		message := make([]byte, 64)
		if _, err := io.ReadFull(conn, message); err != nil {
			return
		}
		select {
		case first <- message:
			io.Copy(io.Discard, conn)
		default:
			conn.Write(<-first)
		}
	}))
	o.Conns = 2
	_, err := load.Run(t.Context(), o)
	require.ErrorContains(t, err, "a message of connection ")
}

// A connection whose operations have no answer when the drain is over does not get away with it.
func TestNoAnswerIsCensored(t *testing.T) {
	o := quick(startHandler(t, after(10, func(net.Conn, []byte, []byte) {})))
	o.Warmup, o.Depth, o.Window, o.Drain, o.FailFast = 0, 2, 300*time.Millisecond, 200*time.Millisecond, false
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	op := run.Operations[load.WorkloadEcho]
	require.EqualValues(t, 2*o.Conns, op.Censored)
	require.EqualValues(t, 12*o.Conns, op.Count)
	require.GreaterOrEqual(t, op.Response.Max(), int64(o.Drain))

	// In an open loop, what was planned but never sent counts as well.
	o.Rate, o.Depth = 500, 1
	o.Window = 800 * time.Millisecond
	run, err = load.Run(t.Context(), o)
	require.NoError(t, err)
	op = run.Operations[load.WorkloadEcho]
	require.InDelta(t, 400, op.Count, 2)
	require.Greater(t, op.Censored, op.Count/2)
}
