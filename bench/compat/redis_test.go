package compat_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/redcon"
)

// redisServer is a running store that speaks the protocol of Redis.
type redisServer struct {
	opened, closed, commands atomic.Int64

	mu     sync.Mutex
	values map[string]string
}

func serveRedis(t *testing.T, s side) *redisServer {
	t.Helper()
	r := &redisServer{values: map[string]string{}}
	server := redcon.NewServer("", r.handle,
		func(redcon.Conn) bool {
			r.opened.Add(1)
			return true
		},
		func(redcon.Conn, error) { r.closed.Add(1) },
	)
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.ln) }()
	t.Cleanup(func() {
		s.ln.Close()
		require.NoError(t, receive(t, served))
		eventually(t, func() bool { return r.opened.Load() == r.closed.Load() }, "every connection has ended")
	})
	return r
}

func (r *redisServer) handle(c redcon.Conn, command redcon.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands.Add(1)
	switch name := strings.ToUpper(string(command.Args[0])); {
	case name == "PING":
		c.WriteString("PONG")
	case name == "SET" && len(command.Args) >= 3:
		r.values[string(command.Args[1])] = string(command.Args[2])
		c.WriteString("OK")
	case name == "GET" && len(command.Args) == 2:
		if value, ok := r.values[string(command.Args[1])]; ok {
			c.WriteBulkString(value)
		} else {
			c.WriteNull()
		}
	case name == "INCR" && len(command.Args) == 2:
		n, _ := strconv.Atoi(r.values[string(command.Args[1])])
		r.values[string(command.Args[1])] = strconv.Itoa(n + 1)
		c.WriteInt(n + 1)
	case name == "QUIT":
		c.WriteString("OK")
		c.Close()
	default:
		c.WriteError("ERR unknown command")
	}
}

// redisCommand is a command as a client sends it.
func redisCommand(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return b.String()
}

// redisExchange sends what is to be sent and reads exactly the answer that is expected.
func redisExchange(c net.Conn, sent, want string) error {
	wrote := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, sent)
		wrote <- err
	}()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c, got)
	if err != nil {
		return fmt.Errorf("%d bytes of %d: %w", n, len(want), err)
	}
	if string(got) != want {
		return fmt.Errorf("got %.100q, not %.100q", got, want)
	}
	return <-wrote
}

func TestRedis(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveRedis(t, s)
		c := s.connect(t)
		big := strings.Repeat("value ", 1<<20)
		for _, x := range []struct{ sent, want string }{
			{"PING\r\n", "+PONG\r\n"}, // as one types it
			{redisCommand("GET", "k"), "$-1\r\n"},
			{redisCommand("SET", "k", "v\r\n\x00"), "+OK\r\n"},
			{redisCommand("GET", "k"), "$4\r\nv\r\n\x00\r\n"},
			{redisCommand("SET", "big", big), "+OK\r\n"},
			{redisCommand("GET", "big"), fmt.Sprintf("$%d\r\n%s\r\n", len(big), big)},
			{redisCommand("FLY"), "-ERR unknown command\r\n"},
			{redisCommand("QUIT"), "+OK\r\n"},
		} {
			require.NoError(t, redisExchange(c, x.sent, x.want))
		}
		_, err := bufio.NewReader(c).ReadByte()
		require.Equal(t, io.EOF, err)
	})
}

// Commands come all at once, on many connections, and are answered in order.
func TestRedisPipelined(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		r := serveRedis(t, s)
		const clients, batches, each = 20, 5, 100
		connections := make([]net.Conn, clients)
		for i := range connections {
			connections[i] = s.connect(t)
		}
		together(t, clients, func(i int) error {
			key, n := fmt.Sprint("k", i), 0
			for range batches {
				var sent, want strings.Builder
				for range each {
					n++
					sent.WriteString(redisCommand("INCR", key) + redisCommand("GET", key))
					fmt.Fprintf(&want, ":%d\r\n$%d\r\n%d\r\n", n, len(fmt.Sprint(n)), n)
				}
				if err := redisExchange(connections[i], sent.String(), want.String()); err != nil {
					return err
				}
			}
			return nil
		})
		require.EqualValues(t, clients, r.opened.Load())
		require.EqualValues(t, 2*clients*batches*each, r.commands.Load())
	})
}

// Redis's own load generator finds nothing wrong.
func TestRedisBenchmark(t *testing.T) {
	program, err := exec.LookPath("redis-benchmark")
	if err != nil {
		t.Skip("redis-benchmark is not installed") // the others test the same with a client of their own
	}
	for _, pipeline := range []int{1, 16} {
		t.Run(fmt.Sprint("pipeline ", pipeline), func(t *testing.T) {
			onEachSubject(t, func(t *testing.T, s side) {
				r := serveRedis(t, s)
				_, port, err := net.SplitHostPort(s.addr())
				require.NoError(t, err)
				const requests = 2000
				out, err := exec.CommandContext(t.Context(), program, "-h", "127.0.0.1", "-p", port, "-t", "ping,set,get,incr", "-r", "100",
					"-n", fmt.Sprint(requests), "-P", fmt.Sprint(pipeline), "-q").CombinedOutput()
				require.NoError(t, err, "%s", out)
				require.NotContains(t, strings.ToLower(string(out)), "error from server")
				require.Equal(t, 5, strings.Count(string(out), "requests per second"), "%s", out) // ping comes in two forms
				require.GreaterOrEqual(t, r.commands.Load(), int64(5*requests))
			})
		})
	}
}
