//go:build unix

package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// strand is the binary under test.
var strand string

func TestMain(m *testing.M) {
	// Under nohup, all that is started here would ignore it (signal(7), execve(2)).
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	dir, err := os.MkdirTemp("", "strand")
	if err != nil {
		panic(err)
	}
	os.Chmod(dir, 0o755) // TestPrivilegedPort runs it as another user
	strand = filepath.Join(dir, "strand")
	build := exec.Command("go", "build", "-o", strand, ".")
	build.Stderr = os.Stderr
	code := 1
	if build.Run() == nil {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// outcome of a program that has ended.
type outcome struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, cmd *exec.Cmd) outcome {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// requireUsage wants exit code 2, nothing on stdout, and one line that has all of the words.
func requireUsage(t *testing.T, o outcome, words ...string) {
	t.Helper()
	require.Equal(t, 2, o.code, o.stderr)
	require.Empty(t, o.stdout)
	require.Regexp(t, `^strand: [^\n]+\n$`, o.stderr)
	for _, word := range words {
		require.Contains(t, o.stderr, word)
	}
}

func TestHelpAndVersion(t *testing.T) {
	o := run(t, exec.Command(strand, "--version"))
	require.Equal(t, 0, o.code)
	require.Regexp(t, `^strand \S+ go\S+\n$`, o.stdout)
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"bench", "--help"}, {"load", "--help"}, {"demo", "order", "--help"}} {
		o := run(t, exec.Command(strand, args...))
		require.Equal(t, 0, o.code)
		require.Contains(t, o.stdout, "Usage: strand")
		require.NotContains(t, o.stdout, "until-eof")
	}
}

func TestBadUsage(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, c := range []struct {
		args  string
		words []string
	}{
		{"", []string{"expected", "strand --help"}},
		{"fly", []string{"fly"}},
		{"serve --wings 2", []string{"--wings"}},
		{"serve --addr " + taken.Addr().String(), []string{"serve: listen tcp " + taken.Addr().String(), "address already in use"}},
		{"serve --addr 192.0.2.1:0", []string{"serve: listen tcp 192.0.2.1:0", "cannot assign requested address"}},
		{"serve --addr nonsense", []string{"serve: addr: address nonsense: missing port"}},
		{"serve --addr 127.0.0.1:99999", []string{"serve: listen tcp: address 99999: invalid port"}},
		{"serve --engine nginx", []string{`serve: engine: unknown engine "nginx"`}},
		{"serve --proto gopher", []string{`serve: proto: unknown protocol "gopher"`}},
		{"serve --engine loop --proto http", []string{"serve: proto: engine loop does not speak http"}},
		{"serve --engine loop --proto block", []string{"serve: proto: engine loop does not speak block: its callbacks must not block"}},
		{"serve --engine loop --proto udp-echo", []string{"serve: proto: engine loop does not speak udp-echo"}},
		{"serve --proto udp-echo --procs 2", []string{"serve: procs: not with protocol udp-echo"}},
		{"serve --proto udp-echo --addr 192.0.2.1:0", []string{"serve: listen udp 192.0.2.1:0", "cannot assign requested address"}},
		{"bench --scenario udp-echo --size 15", []string{"bench: size: a datagram has 20 bytes at least, for its stamp, and 65507 at most, not 15"}},
		{"serve --proto block --block nap", []string{`serve: block: unknown way to block "nap" (there are: sleep, mutex, cpu, park)`}},
		{"serve --proto block --for soon", []string{"--for", `"soon"`}},
		{"serve --proto block --for 0s", []string{"serve: for: 0s is not more than 0"}},
		{"serve --proto block --for=-1ms", []string{"serve: for: -1ms is not more than 0"}},
		{"serve --proto block --share 1", []string{`--share: "1" is not a percentage from 0% to 100% with at most 4 decimals`}},
		{"serve --proto block --share 101%", []string{`--share: "101%" is not a percentage`}},
		{"serve --proto block --take-over-after=-1ms", []string{"serve: take-over-after: -1ms is negative"}},
		{"serve --proto block --take-over-after never", []string{"--take-over-after", `"never"`}},
		{"serve --block sleep", []string{"serve: block: the handlers of protocol echo do not block"}},
		{"serve --proto line --for 1ms", []string{"serve: for: the handlers of protocol line do not block"}},
		{"serve --proto http --share=100%", []string{"serve: share: the handlers of protocol http do not block"}},
		{"serve --engine loop --share 0%", []string{"serve: share: the handlers of protocol echo do not block"}},
		{"serve --engine net --take-over-after 0", []string{"serve: take-over-after: engine net takes no loops over"}},
		{"serve --engine loop --take-over-after 1ms", []string{"serve: take-over-after: engine loop takes no loops over"}},
		{"serve --proto http --carrier inline", []string{"serve: carrier: net/http runs its handlers itself"}},
		{"serve --tls-cert cert.pem", []string{"serve: tls: --tls-cert and --tls-key go together"}},
		{"serve --tls-cert nowhere.pem --tls-key nowhere.pem", []string{"serve: tls: open nowhere.pem: no such file or directory"}},
		{"serve --loops=-1", []string{"serve: loops: -1 is negative"}},
		{"serve --carrier pigeon", []string{`serve: carrier: unknown carrier "pigeon"`}},
		{"serve --procs 0", []string{"serve: procs: 0 is less than 1"}},
		{"serve --drain=-1s", []string{"serve: drain: -1s is negative"}},
		{"serve --metrics " + taken.Addr().String(), []string{"serve: metrics: listen tcp " + taken.Addr().String(), "address already in use"}},
		{"serve --control nonsense", []string{"serve: control: address nonsense: missing port in address (wanted: unix:PATH or HOST:PORT)"}},
		{"serve --control unix:", []string{"serve: control: unix: no path follows"}},
		{"serve --control unix:/nonexistent/x", []string{"serve: control: listen unix /nonexistent/x", "no such file or directory"}},
		{"serve --control " + taken.Addr().String(), []string{"serve: control: listen tcp " + taken.Addr().String(), "address already in use"}},
		{"serve --procs 2 --control 127.0.0.1:0", []string{"serve: control: each process knows of itself alone; not with --procs"}},
		{"serve --metrics nonsense", []string{"serve: metrics: listen tcp: address nonsense: missing port"}},
		{"serve --metrics 127.0.0.1:0 --addr " + taken.Addr().String(), []string{"serve: listen tcp " + taken.Addr().String(), "address already in use"}},
		{"ab --a 127.0.0.1:1", []string{"--b"}},
		{"ab --a 127.0.0.1:1 --b 127.0.0.1:2 --runs 9", []string{"ab: runs: 9 is less than 10"}},
		{"ab --a 127.0.0.1:1 --b 127.0.0.1:2 --confidence 2", []string{"ab: confidence: 2 is not between 0.5 and 1"}},
		{"ab --a 127.0.0.1:1 --b 127.0.0.1:2 --conns 0", []string{"ab: conns: 0 is less than 1"}},
		{"ab --a 127.0.0.1:1 --b 127.0.0.1:2 --server-cpus 0,x", []string{"--server-cpus", `"x" is not a number`}},
		{"ab --a 127.0.0.1:1 --b 127.0.0.1:2 --server-cpus 0-1 --client-cpus 1", []string{"ab: client-cpus: 1 are the server's, too"}},
		{"ab --a 127.0.0.1:1 --b 127.0.0.1:2 --json /nonexistent/x", []string{"ab: json: ", "no such file"}},
		{"ab --a 127.0.0.1:1 --b 127.0.0.1:2 --results /dev/null/x", []string{"ab: results: mkdir /dev/null: not a directory"}},
		{"search 127.0.0.1:1", []string{"--slo"}},
		{"search 127.0.0.1:1 --slo fast", []string{"search: ", "fast"}},
		{"search 127.0.0.1:1 --slo p99<5ms --first 1", []string{"search: first: a rate of 1 has not even 10 operations in 3s"}},
		{"search 127.0.0.1:1 --slo p99<5ms --highest 10", []string{"search: highest: a rate of 10 is below the first, 1000"}},
		{"search 127.0.0.1:1 --slo p99<5ms --precision 1", []string{"search: precision: 1 is not from 0.001 to 0.5"}},
		{"doctor --conns 0", []string{"doctor: conns: 0 is not from 1 to"}},
		{"doctor --conns many", []string{"--conns"}},
		{"doctor --side left", []string{`doctor: side: unknown side "left"`}},
		{"bench --engines net,nginx", []string{`bench: engine: unknown engine "nginx"`}},
		{"bench --peers /nonexistent/peers", []string{"bench: peers: fork/exec /nonexistent/peers: no such file or directory"}},
		{"bench --peers true", []string{"bench: peers: true has no engines"}},
		{"bench --peers false", []string{"bench: peers: exit status 1"}},
		{"bench --conns 0", []string{"bench: conns: 0 is less than 1"}},
		{"bench --conns many", []string{"--conns"}},
		{"bench --size 0", []string{"bench: size: 0 is less than 1"}},
		{"bench --rounds 0", []string{"bench: rounds: 0 is less than 1"}},
		{"bench --scenario http", []string{`bench: scenario: unknown scenario "http"`}},
		{"bench --scenario nonsense", []string{`bench: scenario: unknown scenario "nonsense"`}},
		{"bench --scenario push --engines loop", []string{"bench: proto: engine loop does not speak push"}},
		{"bench --depth 0", []string{"bench: depth: 0 is less than 1"}},
		{"bench --json /nonexistent/result.json", []string{"bench: json: ", "/nonexistent/result.json", "no such file or directory"}},
		{"load", []string{"<addr>"}},
		{"load 127.0.0.1", []string{"load: addr: address 127.0.0.1: missing port"}},
		{"load 127.0.0.1:1 --conns 0", []string{"load: conns: 0 is less than 1"}},
		{"load 127.0.0.1:1 --conns=-1", []string{"load: conns: -1 is less than 1"}},
		{"load 127.0.0.1:1 --size 64-", []string{`load: size: "" is no size`}},
		{"load 127.0.0.1:1 --pace fast", []string{`load: pace: unknown pace "fast"`}},
		{"load 127.0.0.1:1 --pace poisson", []string{"load: rate: pace poisson needs a rate"}},
		{"load 127.0.0.1:1 --duration 0", []string{"load: duration: 0 is less than 1"}},
		{"load 127.0.0.1:1 --workload play", []string{`load: workload: unknown workload "play"`}},
		{"load 127.0.0.1:1 --shard 1/2", []string{"load: shard: it needs --run-id and --start-at"}},
		{"load 127.0.0.1:1 --shard 3/2", []string{`"3/2" is no shard such as 1/4`}},
		{"load 127.0.0.1:1 --shards=-2", []string{"load: shards: -2 is negative"}},
		{"load 127.0.0.1:1 --conns 3 --shards 4", []string{"load: threads: 1 are more than there are connections"}},
		{"load 127.0.0.1:1 --source here", []string{`load: source: "here" is no address`}},
		{"load udp:127.0.0.1", []string{"load: addr: address 127.0.0.1: missing port"}},
		{"load udp:127.0.0.1:1 --workload sink", []string{"load: workload: sink is none of UDP, only echo is"}},
		{"load udp:127.0.0.1:1 --tls", []string{"load: tls: it is not spoken over UDP"}},
		{"load udp:127.0.0.1:1 --protocol http", []string{"load: protocol: http is none of UDP"}},
		{"load udp:127.0.0.1:1 --framing line", []string{"load: framing: over UDP a message is a datagram"}},
		{"load udp:127.0.0.1:1 --slow 1", []string{"load: slow: over UDP"}},
		{"load udp:127.0.0.1:1 --size 65508", []string{"load: size: a datagram has 20 bytes at least, for its stamp, and 65507 at most, not 65508"}},
		{"load udp:127.0.0.1:1 --lost-after 1us", []string{"load: lost-after: 1µs is not between 1 ms and an hour"}},
		{"load 127.0.0.1:1 --lost-after 1s", []string{"load: lost-after: over tcp nothing is lost"}},
		{"load 127.0.0.1:1 --prom " + taken.Addr().String(), []string{"load: prom: listen tcp " + taken.Addr().String(), "address already in use"}},
		{"load 127.0.0.1:1 --prom nonsense", []string{"load: prom: listen tcp: address nonsense: missing port"}},
		{"load 127.0.0.1:1 --prom 127.0.0.1:0 --shards 2", []string{"load: prom: not with --shards"}},
		{"load 127.0.0.1:1 --server-pid me", []string{`--server-pid: "me" is no process, nor none`}},
		{"load 127.0.0.1:1 --server-pid 2147483647", []string{"load: server: watch: process 2147483647: "}},
		{"load 127.0.0.1:1 --conns 4 --shards 2 --server-pid 2147483647", []string{"load: server: watch: process 2147483647: "}},
		{"load 127.0.0.1:1 --server-control nonsense", []string{"load: server-control: address nonsense: missing port in address (wanted: unix:PATH or HOST:PORT)"}},
		{"load 127.0.0.1:1 --server-control unix:/nonexistent/x", []string{"load: server: watch: control: state of the server at unix:/nonexistent/x", "no such file"}},
		{"load 127.0.0.1:1 --server-control unix:/x --server-pid none", []string{"load: server-control: a server that is not watched is not asked"}},
		{"load 127.0.0.1:1 --profile x", []string{"load: profile: it needs --server-control"}},
		{"load 127.0.0.1:1 --server-control unix:/x --profile /nonexistent/x", []string{"load: profile: open /nonexistent/x: no such file"}},
		{"load 127.0.0.1:1 --json /nonexistent/result.json", []string{"load: json: ", "/nonexistent/result.json"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			requireUsage(t, run(t, exec.Command(strand, strings.Fields(c.args)...)), c.words...)
		})
	}
}

func TestPrivilegedPort(t *testing.T) {
	cmd := exec.Command(strand, "serve", "--addr", "127.0.0.1:81")
	if os.Getuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if start, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err != nil || strings.TrimSpace(string(start)) != "1024" {
		t.Skip("port 81 may not be privileged here")
	}
	requireUsage(t, run(t, cmd), "serve: listen tcp 127.0.0.1:81: bind: permission denied")
}

func TestTooFewDescriptors(t *testing.T) {
	o := run(t, exec.Command("sh", "-c", `ulimit -n 64; exec "$0" bench --conns 10,1000`, strand))
	requireUsage(t, o, "bench: conns: 1000 connections need 1032 file descriptors, but only 64 are allowed")
	o = run(t, exec.Command("sh", "-c", `ulimit -n 64; exec "$0" load 127.0.0.1:1 --conns 1000`, strand))
	requireUsage(t, o, "load: conns: 1000 connections need 1032 file descriptors, but only 64 are allowed")
}

// serving is a running strand serve.
type serving struct {
	cmd    *exec.Cmd
	addr   string
	stdout *bufio.Reader
	stderr bytes.Buffer
}

func serve(t *testing.T, stdin io.Reader, args ...string) *serving {
	return startServing(t, stdin, exec.Command(strand, serveArgs(args)...))
}

func serveArgs(args []string) []string {
	return append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)
}

var listening = regexp.MustCompile(`^listening on (127\.0\.0\.1:\d+) \(engine (?:net|loop|coserver), proto (?:echo|line|length|http|block|sink|push|broadcast|udp-echo)(?:, \d+ processes)?\)\n$`)

// startServing runs a command that is, or ends as, strand serve.
func startServing(t *testing.T, stdin io.Reader, cmd *exec.Cmd) *serving {
	t.Helper()
	s := &serving{cmd: cmd}
	s.cmd.Stdin, s.cmd.Stderr = stdin, &s.stderr
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	})
	s.stdout = bufio.NewReader(stdout)
	line, err := s.stdout.ReadString('\n')
	require.NoError(t, err)
	match := listening.FindStringSubmatch(line)
	require.NotNil(t, match, line)
	s.addr = match[1]
	return s
}

// requireEnd wants exit code 0 and no further output.
func (s *serving) requireEnd(t *testing.T) {
	rest, err := io.ReadAll(s.stdout)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.NoError(t, s.cmd.Wait())
	require.Empty(t, s.stderr.String())
}

func (s *serving) dial(t *testing.T) net.Conn {
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	s.exchange(t, conn)
	return conn
}

func (s *serving) exchange(t *testing.T, conn net.Conn) {
	_, err := io.WriteString(conn, "hello\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "hello\n", line)
}

func (s *serving) refuses() bool {
	conn, err := net.Dial("tcp", s.addr)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func TestServeDrains(t *testing.T) {
	for _, engine := range []string{"net", "loop", "coserver"} {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			t.Run(engine+" "+sig.String(), func(t *testing.T) {
				s := serve(t, nil, "--engine", engine, "--proto", "line")
				conn := s.dial(t)
				require.NoError(t, s.cmd.Process.Signal(sig))
				require.Eventually(t, s.refuses, 5*time.Second, time.Millisecond)
				if engine == "coserver" { // knows that the connection is idle
					_, err := conn.Read(make([]byte, 1))
					require.Equal(t, io.EOF, err)
				} else {
					s.exchange(t, conn)
					require.NoError(t, conn.Close())
				}
				s.requireEnd(t)
			})
		}
	}
}

// A request that runs is finished, and connections that are idle are ended.
func TestServeHTTPDrains(t *testing.T) {
	for _, engine := range []string{"net", "coserver"} {
		t.Run(engine, func(t *testing.T) {
			s := serve(t, nil, "--engine", engine, "--proto", "http", "--drain", "1h")
			idle, busy := s.request(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), s.request(t,
				"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
			require.Equal(t, "hello, world\n", idle.answer(t))
			require.Equal(t, "hello, world\n", busy.answer(t))
			line, err := busy.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "HTTP/1.1 100 Continue\r\n", line, "the handler runs")
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			require.Eventually(t, s.refuses, 5*time.Second, time.Millisecond)
			_, err = idle.ReadByte()
			require.Equal(t, io.EOF, err)
			_, err = io.WriteString(busy.conn, "finish")
			require.NoError(t, err)
			_, err = busy.ReadString('\n') // the rest of 100 Continue
			require.NoError(t, err)
			require.Equal(t, "finish", busy.answer(t))
			s.requireEnd(t)
		})
	}
}

// requested is a connection that an HTTP request was sent on.
type requested struct {
	*bufio.Reader
	conn net.Conn
}

func (s *serving) request(t *testing.T, text string) requested {
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	return requested{bufio.NewReader(conn), conn}
}

func (r requested) answer(t *testing.T) string {
	response, err := http.ReadResponse(r.Reader, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

func TestServeForcesAfterTheLimit(t *testing.T) {
	s := serve(t, nil, "--engine", "net", "--drain", "20ms")
	conn := s.dial(t)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	s.requireEnd(t)
}

func TestSecondSignalForces(t *testing.T) {
	s := serve(t, nil, "--engine", "net", "--drain", "1h")
	conn := s.dial(t)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, s.refuses, 5*time.Second, time.Millisecond)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGINT))
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	s.requireEnd(t)
}

func TestServeBlock(t *testing.T) {
	for _, engine := range []string{"net", "coserver"} {
		for _, block := range []string{"sleep", "mutex", "cpu", "park"} {
			t.Run(engine+" "+block, func(t *testing.T) {
				s := serve(t, nil, "--engine", engine, "--proto", "block", "--block", block, "--for", "20ms", "--share", "50%")
				s.dial(t)
				began := time.Now()
				s.dial(t)
				require.GreaterOrEqual(t, time.Since(began), 20*time.Millisecond)
			})
		}
	}
}

// By default a loop is taken over, and a handler that blocks keeps the program from nothing, its end included.
func TestServeBlockForLong(t *testing.T) {
	for _, engine := range []string{"net", "coserver"} {
		t.Run(engine, func(t *testing.T) {
			args := []string{"--engine", engine, "--proto", "block", "--for", "1h", "--share", "50%", "--drain", "20ms"}
			if engine == "coserver" {
				args = append(args, "--loops", "1")
			}
			s := serve(t, nil, args...)
			other := s.dial(t)
			blocked, err := net.Dial("tcp", s.addr)
			require.NoError(t, err)
			defer blocked.Close()
			_, err = io.WriteString(blocked, "hello\n")
			require.NoError(t, err)
			for range 5 {
				s.exchange(t, other)
			}
			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			_, err = blocked.Read(make([]byte, 1))
			require.Error(t, err)
			s.requireEnd(t)
		})
	}
}

func TestServeTakesNothingOver(t *testing.T) {
	s := serve(t, nil, "--loops", "1", "--take-over-after", "0", "--proto", "block", "--for", "50ms", "--share", "50%")
	other := s.dial(t)
	began := time.Now()
	blocked, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer blocked.Close()
	_, err = io.WriteString(blocked, "hello\n")
	require.NoError(t, err)
	for range 5 { // the loop has found what blocked has sent by then
		s.exchange(t, other)
	}
	require.GreaterOrEqual(t, time.Since(began), 50*time.Millisecond)

	s = serve(t, nil, "--take-over-after", "0", "--proto", "http")
	require.Equal(t, "hello, world\n", s.request(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").answer(t))
}

func TestServeUntilEOF(t *testing.T) {
	stdin, end, err := os.Pipe()
	require.NoError(t, err)
	defer stdin.Close()
	s := serve(t, stdin, "--until-eof")
	s.dial(t)
	require.NoError(t, end.Close())
	s.requireEnd(t)
}

func TestBench(t *testing.T) {
	path := filepath.Join(t.TempDir(), "result.json")
	o := run(t, exec.Command(strand, "bench", "--engines", "net", "--conns", "1,3", "--duration", "300ms", "--rounds", "2", "--json", path))
	require.Equal(t, 0, o.code, o.stderr)
	require.Contains(t, o.stderr, "run 1 of 6")
	for _, words := range []string{"echo, 1 connection, 64 B", "echo, 3 connections, 64 B", "line, 3 connections, 64 B, 16 messages a batch"} {
		require.Contains(t, o.stdout, words)
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var report struct {
		Version   int `json:"schema_version"`
		Scenarios []struct {
			Engines []struct {
				Rounds []struct {
					Messages int64 `json:"messages"`
				} `json:"rounds"`
			} `json:"engines"`
		} `json:"scenarios"`
	}
	require.NoError(t, json.Unmarshal(text, &report))
	require.Equal(t, 1, report.Version)
	require.Len(t, report.Scenarios, 3)
	for _, scenario := range report.Scenarios {
		require.Len(t, scenario.Engines, 1)
		require.Len(t, scenario.Engines[0].Rounds, 2)
		for _, round := range scenario.Engines[0].Rounds {
			require.Positive(t, round.Messages)
		}
	}
}

// An interrupted comparison leaves no server behind, however it is interrupted.
func TestBenchLeavesNoChild(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.Command(strand, "bench", "--engines", "net", "--conns", "2", "--duration", "1m")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Start())
			var child int
			require.Eventually(t, func() bool {
				child = childOf(cmd.Process.Pid)
				return child != 0
			}, 5*time.Second, time.Millisecond)
			require.NoError(t, cmd.Process.Signal(sig))
			require.Error(t, cmd.Wait())
			if sig == syscall.SIGINT {
				require.Equal(t, 1, cmd.ProcessState.ExitCode())
				require.Regexp(t, `strand: bench: interrupted\n$`, stderr.String())
			}
			require.Eventually(t, func() bool { return gone(child) }, 5*time.Second, time.Millisecond)
		})
	}
}

// childOf finds a child of that process, 0 if it has none.
func childOf(parent int) int {
	if children := childrenOf(parent); len(children) > 0 {
		return children[0]
	}
	return 0
}

// childrenOf lists the children of that process.
func childrenOf(parent int) (children []int) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(out)) {
		var pid, ppid int
		if _, err := fmt.Sscan(line, &pid, &ppid); err == nil && ppid == parent {
			children = append(children, pid)
		}
	}
	return children
}

// gone also counts a process that has ended and that nobody has waited for.
func gone(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || strings.HasPrefix(string(out), "Z")
}
