package order

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// many are more clients than there are loops or processors, all at once.
const many = 100

// onEachRedis runs test with the embedded server, and with Debian's if it is there.
func onEachRedis(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("embedded", func(t *testing.T) {
		leak.Check(t)
		addr, stop, err := Embedded()
		require.NoError(t, err)
		t.Cleanup(stop)
		test(t, addr)
	})
	if program, err := exec.LookPath("redis-server"); err == nil {
		t.Run("redis-server", func(t *testing.T) {
			leak.Check(t)
			test(t, startRedis(t, program))
		})
	}
}

// startRedis runs a server on a unix socket until the test ends, and returns its path.
func startRedis(t *testing.T, program string) string {
	dir, err := os.MkdirTemp("", "strand") // t.TempDir is too long for a socket's path
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", path, "--dir", dir, "--save", "", "--appendonly", "no", "--maxclients", "1000")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	for deadline := time.Now().Add(patience); ; {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
			return path
		}
		select {
		case err := <-ended:
			ended <- err
			require.NoError(t, err, "redis-server has ended: %s", &log)
		case <-time.After(5 * time.Millisecond):
			require.True(t, time.Now().Before(deadline), "redis-server does not listen")
		}
	}
}

// The handler of each of many clients stores before it reads, though the client has sent long before: the order is never broken, and
// every client is told its own.
func TestSequentialKeepsOrder(t *testing.T) {
	for _, carrier := range []coserver.Carrier{coserver.Inline, coserver.Channel} {
		t.Run(carrier.String(), func(t *testing.T) {
			onEachRedis(t, func(t *testing.T, addr string) {
				report, err := Sequential(t.Context(), Options{Redis: addr, Clients: many, Carrier: carrier, slow: func(ctx context.Context, c *client) error {
					return coserver.Offload(func() {
						select {
						case <-c.sent: // whatever the client sends is there to be read too early
						case <-ctx.Done():
						}
					})
				}})
				require.NoError(t, err)
				require.Empty(t, report.Broken())
				require.Zero(t, report.ToldNil())
				requireClean(t, addr)
			})
		})
	}
}

// The callbacks of each of many clients do their work in whatever order: none is told what is stored only afterwards.
func TestAsynchronousBreaksOrder(t *testing.T) {
	onEachRedis(t, func(t *testing.T, addr string) {
		report, err := Asynchronous(t.Context(), Options{Redis: addr, Clients: many, slow: func(ctx context.Context, c *client) error {
			select {
			case <-c.answered: // OnData does not wait for OnOpen, so this is not for ever
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		require.NoError(t, err)
		require.Equal(t, many, report.ToldNil())
		require.NotEmpty(t, report.Broken())
		requireClean(t, addr)
	})
}

// requireClean wants no key to be left.
func requireClean(t *testing.T, addr string) {
	t.Helper()
	network := "tcp"
	if strings.Contains(addr, "/") {
		network = "unix"
	}
	c, err := redis.Dial(network, addr)
	require.NoError(t, err)
	defer c.Close()
	keys, err := redis.Int(c.Do("DBSIZE"))
	require.NoError(t, err)
	require.Zero(t, keys)
}

// A report says what was wrong: a test of order that cannot fail is none.
func TestBrokenOrderIsFound(t *testing.T) {
	good := func() []Event {
		return []Event{{Step: Sent, Value: greeting}, {Step: Opened}, {Step: Stored, Value: "v"}, {Step: Received, Value: greeting},
			{Step: Fetched, Value: "v"}, {Step: Answered, Value: "v"}, {Step: Closed}}
	}
	report := func(events []Event) *Report {
		for i := range events {
			events[i].Client = 1
		}
		return &Report{Style: StyleSequential, Clients: 1, Events: events}
	}
	require.Empty(t, report(good()).Broken())
	for name, spoil := range map[string]func(events []Event) []Event{
		"received before it was stored": func(e []Event) []Event { e[2], e[3] = e[3], e[2]; return e },
		"told nil":                      func(e []Event) []Event { e[4].Value, e[5].Value = Nil, Nil; return e },
		"told another's":                func(e []Event) []Event { e[5].Value = "w"; return e },
		"never closed":                  func(e []Event) []Event { return e[:6] },
		"never came":                    func([]Event) []Event { return nil },
		"served twice":                  func(e []Event) []Event { return append(e, good()...) },
	} {
		broken := report(spoil(good())).Broken()
		require.NotEmpty(t, broken, name)
		require.Contains(t, fmt.Sprint(broken), "client 1")
	}
}

// Redis that is not there, or is something else, is an error before any client comes, and one that goes away is an error too.
func TestRedisFails(t *testing.T) {
	leak.Check(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := ln.Addr().String()
	require.NoError(t, ln.Close())
	for _, run := range []func(context.Context, Options) (*Report, error){Asynchronous, Sequential} {
		_, err = run(t.Context(), Options{Redis: nobody, Clients: 1})
		require.ErrorAs(t, err, new(*RedisError))
		require.ErrorContains(t, err, nobody)

		addr, stop, err := Embedded()
		require.NoError(t, err)
		_, err = run(t.Context(), Options{Redis: addr, Clients: 3, slow: func(context.Context, *client) error {
			stop()
			return nil
		}})
		require.Error(t, err)
	}
}

// A run ends with its context.
func TestRunIsCancelled(t *testing.T) {
	leak.Check(t)
	addr, stop, err := Embedded()
	require.NoError(t, err)
	defer stop()
	for _, run := range []func(context.Context, Options) (*Report, error){Asynchronous, Sequential} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := run(ctx, Options{Redis: addr, Clients: 3, slow: func(ctx context.Context, c *client) error {
			cancel()
			return coserver.Sleep(ctx, time.Hour)
		}})
		require.ErrorIs(t, err, context.Canceled)
	}
}
