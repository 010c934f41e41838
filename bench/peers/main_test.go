package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench"
)

// asPeers, in the environment, makes this test binary the command.
const asPeers = "PEERS_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asPeers) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// patience is how long anything may take on a busy machine.
const patience = 20 * time.Second

func start(t *testing.T, engine, proto string) *bench.Child {
	t.Helper()
	t.Setenv(asPeers, "1")
	self, err := os.Executable()
	require.NoError(t, err)
	child, err := bench.StartChild(t.Context(), self, "--engine", engine, "--proto", proto, "--addr", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(child.Stop)
	return child
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// messages are n of them, of all sizes that the protocol has.
func messages(proto string, random *rand.Rand, n int) []byte {
	var all []byte
	for i := range n {
		size := random.IntN(200)
		if i%20 == 0 {
			size = random.IntN(maxLine) // with its newline at most maxLine
		}
		if i == n/2 && proto != "line" {
			size = maxMessage
		}
		body := make([]byte, size)
		for i := range body {
			body[i] = 'a' + byte(random.IntN(26))
		}
		switch proto {
		case "line":
			body = append(body, '\n')
		case "length":
			all = binary.BigEndian.AppendUint32(all, uint32(size))
		}
		all = append(all, body...)
	}
	return all
}

// Everything comes back, byte by byte and in order, however it is cut, on several connections at the same time.
func TestEcho(t *testing.T) {
	for _, engine := range names {
		for proto := range splitters {
			t.Run(engine+" "+proto, func(t *testing.T) {
				child := start(t, engine, proto)
				var all sync.WaitGroup
				for i := range 8 {
					conn := dial(t, child.Addr)
					random := rand.New(rand.NewPCG(1, uint64(i)))
					want := messages(proto, random, 200)
					all.Go(func() {
						for rest := want; len(rest) > 0; {
							n := min(len(rest), 1+random.IntN(3000))
							if random.IntN(10) == 0 {
								n = min(len(rest), 200_000)
							}
							if _, err := conn.Write(rest[:n]); err != nil {
								t.Errorf("write: %v", err)
								return
							}
							rest = rest[n:]
						}
					})
					all.Go(func() {
						got := make([]byte, len(want))
						n, err := io.ReadFull(conn, got)
						if err != nil || !bytes.Equal(want, got) {
							t.Errorf("%d of %d bytes came back (%v), equal: %v", n, len(want), err, bytes.Equal(want[:n], got[:n]))
						}
					})
				}
				all.Wait()
			})
		}
	}
}

// One message is answered before the next has come, also if it comes in two parts.
func TestNothingIsHeldBack(t *testing.T) {
	for proto, message := range map[string]string{"echo": "ab", "line": "ab\n", "length": "\x00\x00\x00\x02ab"} {
		for _, engine := range names {
			t.Run(engine+" "+proto, func(t *testing.T) {
				conn := dial(t, start(t, engine, proto).Addr)
				for range 3 {
					for _, part := range []string{message[:1], message[1:]} {
						_, err := io.WriteString(conn, part)
						require.NoError(t, err)
					}
					got := make([]byte, len(message))
					_, err := io.ReadFull(conn, got)
					require.NoError(t, err)
					require.Equal(t, message, string(got))
				}
			})
		}
	}
}

// A message that is too long ends its connection after those before it have been answered, and no other one.
func TestTooLong(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for proto, c := range map[string]struct{ good, bad string }{
		"line":   {"ab\n" + long[1:] + "\n", long},
		"length": {"\x00\x00\x00\x02ab", "\x00\x10\x00\x01"},
	} {
		for _, engine := range names {
			t.Run(engine+" "+proto, func(t *testing.T) {
				addr := start(t, engine, proto).Addr
				other, conn := dial(t, addr), dial(t, addr)
				_, err := io.WriteString(conn, c.good+c.bad)
				require.NoError(t, err)
				got, _ := io.ReadAll(conn) // a reset may be what ends it
				require.Equal(t, c.good, string(got))
				_, err = io.WriteString(other, c.good)
				require.NoError(t, err)
				_, err = io.ReadFull(other, got)
				require.NoError(t, err)
				require.Equal(t, c.good, string(got))
			})
		}
	}
}

func TestUsage(t *testing.T) {
	t.Setenv(asPeers, "1")
	self, err := os.Executable()
	require.NoError(t, err)
	out, err := exec.Command(self, "--list").Output()
	require.NoError(t, err)
	require.Equal(t, "gnet echo length line\nnetpoll echo length line\nnbio echo length line\n", string(out))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for want, args := range map[string][]string{
		`unknown engine "evio" (there are: gnet, netpoll, nbio)`: {"--engine", "evio"},
		`unknown protocol "http"`:                                {"--proto", "http"},
		`unexpected argument "now"`:                              {"now"},
		"peers: gnet: ":                                          {"--engine", "gnet", "--addr", taken.Addr().String()},
		"peers: netpoll: ":                                       {"--engine", "netpoll", "--addr", taken.Addr().String()},
		"peers: nbio: ":                                          {"--engine", "nbio", "--addr", taken.Addr().String()},
	} {
		cmd := exec.Command(self, args...)
		_, err := cmd.StdinPipe() // it would end with its input
		require.NoError(t, err)
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), want)
	}
}

// It ends with its input, so that no server outlives whoever has started it.
func TestEndsWithItsInput(t *testing.T) {
	for _, engine := range names {
		t.Setenv(asPeers, "1")
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(self, "--engine", engine)
		cmd.Stdin = strings.NewReader("")
		require.NoError(t, cmd.Run())
	}
}

func TestSplitters(t *testing.T) {
	for _, c := range []struct {
		proto, in   string
		whole, need int
		fails       bool
	}{
		{"echo", "abc", 3, 1, false},
		{"line", "", 0, 1, false},
		{"line", "abc", 0, 4, false},
		{"line", "\nabc\nd", 5, 2, false},
		{"line", strings.Repeat("x", maxLine-1) + "\n", maxLine, 1, false},
		{"line", strings.Repeat("x", maxLine), 0, 1, true},
		{"line", "a\n" + strings.Repeat("x", maxLine) + "\n", 2, 1, true},
		{"length", "\x00\x00", 0, 4, false},
		{"length", "\x00\x00\x00\x00", 4, 4, false},
		{"length", "\x00\x00\x00\x03ab", 0, 7, false},
		{"length", "\x00\x00\x00\x01a\x00\x10\x00\x00", 5, 4 + maxMessage, false},
		{"length", "\x00\x10\x00\x01", 0, 1, true},
	} {
		whole, need, err := splitters[c.proto]([]byte(c.in))
		require.Equal(t, c.whole, whole, "%+v", c)
		require.Equal(t, c.need, need, "%+v", c)
		require.Equal(t, c.fails, err != nil, "%+v", c)
	}
}
