//go:build linux

package load_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"

	"github.com/strand-net/strand/bench/load"
)

// mqttBroker answers CONNECT and PINGREQ.
func mqttBroker(conn net.Conn) {
	reader := bufio.NewReader(conn)
	for {
		header := make([]byte, 2)
		if _, err := io.ReadFull(reader, header); err != nil {
			return
		}
		if _, err := reader.Discard(int(header[1])); err != nil {
			return
		}
		answer := []byte{0xd0, 0}
		if header[0] == 0x10 {
			answer = []byte{0x20, 2, 0, 0}
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func TestProtocols(t *testing.T) {
	redis := miniredis.RunT(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/plain", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello, world\n") })
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("chunk", 1000))
		w.(http.Flusher).Flush()
		io.WriteString(w, strings.Repeat("chunk", 1000))
	})
	mux.Handle("/ws", websocket.Server{Handler: func(conn *websocket.Conn) {
		conn.PayloadType = websocket.BinaryFrame
		io.Copy(conn, conn)
	}})
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	broker := startHandler(t, mqttBroker)
	for _, c := range []struct{ protocol, path, addr string }{
		{load.ProtocolRESPPing, "", redis.Addr()},
		{load.ProtocolRESPSet, "", redis.Addr()},
		{load.ProtocolRESPGet, "", redis.Addr()},
		{load.ProtocolHTTP, "/plain", web.Listener.Addr().String()},
		{load.ProtocolHTTP, "/chunked", web.Listener.Addr().String()},
		{load.ProtocolWebSocket, "/ws", web.Listener.Addr().String()},
		{load.ProtocolMQTTPing, "", broker.String()},
	} {
		for _, change := range []func(*load.Options){
			func(o *load.Options) {},
			func(o *load.Options) { o.Rate, o.Threads = 500, 2 },
			func(o *load.Options) { o.Batch, o.Depth, o.Size = 3, 2, load.FixedSize(300) },
		} {
			t.Run(c.protocol+c.path, func(t *testing.T) {
				o := quick(&net.TCPAddr{})
				o.Addr, o.Protocol, o.Path, o.Window = c.addr, c.protocol, c.path, 200*time.Millisecond
				change(&o)
				run, err := load.Run(t.Context(), o)
				require.NoError(t, err)
				requireFaultless(t, run)
				require.Positive(t, run.Check.Checked)
				require.Equal(t, []string{c.protocol}, keysOf(run.Operations))
			})
		}
	}
}

func TestFaultsOfProtocols(t *testing.T) {
	// each answers everything with the same.
	for want, c := range map[string]struct{ protocol, answer string }{
		`"-ERR no" came back, not "+PONG\r\n"`:                     {load.ProtocolRESPPing, "-ERR no"},
		`"HTTP/1.1 404 Not Found" came back`:                       {load.ProtocolHTTP, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"},
		`"SSH-2.0-x" is no HTTP reply`:                             {load.ProtocolHTTP, "SSH-2.0-x\r\n\r\n"},
		"whose length nobody can tell":                             {load.ProtocolHTTP, "HTTP/1.1 200 OK\r\n\r\n"},
		`"x" is no Content-Length`:                                 {load.ProtocolHTTP, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"},
		`"zz" is no size of a chunk`:                               {load.ProtocolHTTP, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
		"came back although nothing was due":                       {load.ProtocolRESPPing, "+PONG\r\n+PONG\r\n"},
		`hello: "HTTP/1.1 200 OK" came back instead of an upgrade`: {load.ProtocolWebSocket, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		`hello: "+OK\r" came back, not " \x02\x00\x00"`:            {load.ProtocolMQTTPing, "+OK\r\n"},
		"hello: 1 bytes came back although nothing was due":        {load.ProtocolMQTTPing, "\x20\x02\x00\x00x"},
	} {
		t.Run(want, func(t *testing.T) {
			o := quick(startHandler(t, func(conn net.Conn) {
				buf := make([]byte, 1000)
				for {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					if _, err := io.WriteString(conn, c.answer); err != nil {
						return
					}
				}
			}))
			o.Protocol = c.protocol
			_, err := load.Run(t.Context(), o)
			require.ErrorContains(t, err, want)
		})
	}
}

func TestProtocolsThatCannotBe(t *testing.T) {
	for want, change := range map[string]func(*load.Options){
		`protocol: unknown protocol "gopher"`:  func(o *load.Options) { o.Protocol = "gopher" },
		"protocol: workload sink has none":     func(o *load.Options) { o.Protocol, o.Workload = load.ProtocolHTTP, load.WorkloadSink },
		"path: only a protocol over HTTP":      func(o *load.Options) { o.Path = "/" },
		`path: "/ x" is none`:                  func(o *load.Options) { o.Protocol, o.Path = load.ProtocolHTTP, "/ x" },
		"framing: a protocol has its own":      func(o *load.Options) { o.Protocol, o.Framing = load.ProtocolHTTP, load.FramingLine },
		"size: all messages of protocol http":  func(o *load.Options) { o.Protocol, o.Size = load.ProtocolHTTP, sizes(t, "1-2") },
		"slow: a protocol has no slow readers": func(o *load.Options) { o.Protocol, o.Slow = load.ProtocolHTTP, 1 },
	} {
		o := quick(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		change(&o)
		require.ErrorContains(t, o.Validate(), want)
	}
}
