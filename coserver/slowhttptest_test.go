package coserver_test

import (
	"bytes"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/steady"
)

var slowhttptest = flag.String("slowhttptest", "", "the slowhttptest(1) that TestSlowHTTPTest is to use")

// faults.md X1, X2: each way that slowhttptest(1) has to be slow is cut by a limit of the server's, and others are answered meanwhile
// as if nothing was.
func TestSlowHTTPTest(t *testing.T) {
	if *slowhttptest == "" {
		t.Skip("it needs slowhttptest: make hostile")
	}
	const conns, limit = 1000, 5 * time.Second
	for _, attack := range []struct {
		name, args string
		cut        func(coserver.TimedOutStats) uint64
	}{
		{"slow headers", "-H -i 2 -x 24", func(n coserver.TimedOutStats) uint64 { return n.Read }},
		{"slow body", "-B -i 2 -s 8192 -x 10", func(n coserver.TimedOutStats) uint64 { return n.Read }},
		{"slow read", "-X -n 2 -w 1 -y 512 -z 5 -k 3", func(n coserver.TimedOutStats) uint64 { return n.Write }},
	} {
		t.Run(attack.name, func(t *testing.T) {
			s := &coserver.Server{Handler: plainHTTP, IdleTimeout: limit, ReadTimeout: limit, WriteTimeout: limit}
			addr := start(t, s, "tcp")
			others := steady.Start(t, addr, 200, 50*time.Millisecond)
			args := fmt.Sprintf("%s -c %d -r 500 -l 20 -p 3 -u http://%v/", attack.args, conns, addr)
			var output []byte
			alone, attacked := others.Compare(1, 5*time.Second, func() {
				var err error
				output, err = exec.Command(*slowhttptest, strings.Fields(args)...).CombinedOutput()
				noError(t, err)
			})
			steady.Within(t, 1.5, alone, attacked)
			require.NotContains(t, string(output), "service available:   NO")
			require.EqualValues(t, conns, attack.cut(s.Stats().TimedOut), "%+v\\n%s", s.Stats(), output)
			require.Equal(t, 200, s.Stats().Active)
		})
	}
}

// page is an answer that the kernel does not take at once.
var page = append([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n"), make([]byte, 1<<20)...)

// plainHTTP is as much of an HTTP server as slowhttptest needs, and an echo of lines. A head is one message, for it is read by Peek.
func plainHTTP(c *coserver.Conn) error {
	// What the kernel holds for a peer that does not read is bounded by this: without it, by megabytes (tcp_wmem of tcp(7)).
	if err := c.SetWriteBuffer(64 << 10); err != nil {
		return err
	}
	for {
		head, err := c.Peek(1)
		for err == nil && !isHead(head) {
			head, err = c.Peek(len(head) + 1)
		}
		if err != nil {
			return err
		}
		question, answer, body := string(head), page, 0
		if _, rest, ok := strings.Cut(question, "Content-Length: "); ok {
			if _, err := fmt.Sscan(rest, &body); err != nil {
				return err
			}
		}
		if !strings.Contains(question, " HTTP/1.1") {
			answer = []byte(question)
		}
		if _, err := c.Discard(len(head) + body); err != nil {
			return err
		}
		if _, err := c.Write(answer); err != nil {
			return err
		}
	}
}

func isHead(data []byte) bool {
	line, _, whole := bytes.Cut(data, []byte("\n"))
	return bytes.HasSuffix(data, []byte("\r\n\r\n")) || whole && !bytes.Contains(line, []byte("HTTP/"))
}
