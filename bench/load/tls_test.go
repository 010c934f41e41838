//go:build linux

package load_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/load"
	"github.com/strand-net/strand/bench/server"
)

// certificate is a server's, and the file that a client needs to trust it. It is for 127.0.0.1 and example.com.
func certificate(t *testing.T) (config *tls.Config, ca string) {
	t.Helper()
	test := httptest.NewTLSServer(nil) // which has one
	defer test.Close()
	ca = filepath.Join(t.TempDir(), "ca")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: test.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, text, 0o600))
	return &tls.Config{Certificates: test.TLS.Certificates}, ca
}

func TestWorkloadsOverTLS(t *testing.T) {
	config, ca := certificate(t)
	for _, c := range []struct {
		name, proto string
		change      func(*load.Options)
	}{
		{"closed", server.ProtoEcho, func(*load.Options) {}},
		{"open", server.ProtoEcho, func(o *load.Options) { o.Rate, o.Threads = 1000, 2 }},
		{"max", server.ProtoEcho, func(o *load.Options) { o.Pace = load.PaceMax }},
		{"lines", server.ProtoLine, func(o *load.Options) { o.Framing, o.Batch = load.FramingLine, 16 }},
		{"lengths", server.ProtoLength, func(o *load.Options) { o.Framing, o.Size = load.FramingLength, sizes(t, "10:9,50000:1") }},
		{"more than a socket buffer takes", server.ProtoEcho, func(o *load.Options) { o.Size, o.Batch = load.FixedSize(1<<18), 4 }},
		{"slow readers", server.ProtoEcho, func(o *load.Options) { o.Conns, o.Slow, o.SlowRate = 8, 3, 50000 }},
		{"heartbeats", server.ProtoEcho, func(o *load.Options) { o.Active, o.Heartbeat = 2, 50*time.Millisecond }},
		{"sink", server.ProtoSink, func(o *load.Options) { o.Workload, o.Pace = load.WorkloadSink, load.PaceMax }},
		{"push", server.ProtoPush, func(o *load.Options) { o.Workload, o.Rate, o.Size = load.WorkloadPush, 2000, sizes(t, "24-3000") }},
		{"broadcast", server.ProtoBroadcast, func(o *load.Options) { o.Workload, o.Active, o.Threads = load.WorkloadBroadcast, 2, 2 }},
		{"churn", server.ProtoEcho, func(o *load.Options) { o.Workload = load.WorkloadChurn }},
		{"churn at a rate", server.ProtoEcho, func(o *load.Options) { o.Workload, o.Rate = load.WorkloadChurn, 50 }},
	} {
		for _, engine := range []string{server.EngineNet, server.EngineCoserver} {
			t.Run(c.name+" "+engine, func(t *testing.T) {
				o := quick(start(t, server.Options{Engine: engine, Proto: c.proto, Addr: "127.0.0.1:0", TLS: config.Clone()}))
				o.TLS = &load.TLS{CA: ca}
				o.Window = time.Second
				c.change(&o)
				run, err := load.Run(t.Context(), o)
				require.NoError(t, err)
				requireFaultless(t, run)
				require.Positive(t, run.Check.Checked)
				require.EqualValues(t, o.Conns, run.Connect.Latency.TotalCount())
				require.Contains(t, run.Name, "over TLS")
				require.Contains(t, string(run.Config), `"TLS":{`)
			})
		}
	}
}

func TestProtocolOverTLS(t *testing.T) {
	config, ca := certificate(t)
	config.NextProtos = []string{"http/1.1"}
	o := quick(start(t, server.Options{Engine: server.EngineNet, Proto: server.ProtoHTTP, Addr: "127.0.0.1:0", TLS: config}))
	o.Protocol, o.TLS = load.ProtocolHTTP, &load.TLS{CA: ca, Name: "example.com", ALPN: []string{"http/1.1"}}
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	requireFaultless(t, run)
}

// The handshake is a part of what connecting takes.
func TestHandshakeTimeIsConnecting(t *testing.T) {
	config, ca := certificate(t)
	const late = 50 * time.Millisecond
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		time.Sleep(late) // it is the lateness that is measured
		return nil, nil
	}
	o := quick(start(t, server.Options{Engine: server.EngineNet, Proto: server.ProtoEcho, Addr: "127.0.0.1:0", TLS: config}))
	o.TLS = &load.TLS{CA: ca}
	run, err := load.Run(t.Context(), o)
	require.NoError(t, err)
	requireFaultless(t, run)
	require.GreaterOrEqual(t, run.Connect.Latency.Min(), int64(late)*99/100)
	require.Less(t, run.Operations["echo"].Response.Min(), int64(late))
}

// startTLS serves each connection, after its handshake, by handler.
func startTLS(t *testing.T, config *tls.Config, handler func(*tls.Conn)) net.Addr {
	return startHandler(t, func(conn net.Conn) {
		secure := tls.Server(conn, config)
		if secure.Handshake() == nil {
			handler(secure)
		}
	})
}

func TestFaultsOfTLS(t *testing.T) {
	config, ca := certificate(t)
	echo := func(conn *tls.Conn) { io.Copy(conn, conn) }
	garbage := append([]byte{23, 3, 3, 0, 95}, make([]byte, 95)...) // a record of application data that nobody has encrypted
	for _, c := range []struct {
		want, kind string
		tls        load.TLS
		handler    func(*tls.Conn)
	}{
		{"tls: handshake: tls: failed to verify certificate: x509: certificate signed by unknown authority", "", load.TLS{}, echo},
		{"tls: handshake: tls: failed to verify certificate: x509: certificate is valid for", "", load.TLS{CA: ca, Name: "strand.invalid"}, echo},
		{"the server has chosen none of the application protocols [smtp]", "", load.TLS{Insecure: true, ALPN: []string{"smtp"}}, echo},
		{"a wrong byte came back", "wrong content", load.TLS{CA: ca}, func(conn *tls.Conn) {
			io.CopyN(conn, conn, 1000)
			conn.Write(garbage)
			io.Copy(io.Discard, conn)
		}},
		{"tls: local error: tls: bad record MAC", "tls", load.TLS{CA: ca}, func(conn *tls.Conn) {
			io.CopyN(conn, conn, 6400)
			conn.NetConn().Write(garbage)
			io.Copy(io.Discard, conn)
		}},
		{"the server closed it", "closed by the server", load.TLS{CA: ca}, func(conn *tls.Conn) {
			io.CopyN(conn, conn, 6400)
			conn.Close()
		}},
		{"connection reset by peer", "connection reset by peer", load.TLS{CA: ca}, func(conn *tls.Conn) {
			io.CopyN(conn, conn, 6400)
			conn.NetConn().(*net.TCPConn).SetLinger(0)
			conn.NetConn().Close()
		}},
	} {
		t.Run(c.want, func(t *testing.T) {
			o := quick(startTLS(t, config, c.handler))
			o.TLS, o.Window = &c.tls, time.Second
			_, err := load.Run(t.Context(), o)
			require.ErrorContains(t, err, c.want)
			if c.kind == "" {
				return
			}
			o.FailFast, o.Warmup = false, 0
			run, err := load.Run(t.Context(), o)
			require.NoError(t, err)
			require.EqualValues(t, o.Conns, run.Errors[c.kind], "%v", run.Errors)
		})
	}
}

// A server that does not shake hands is found out, and leaves nothing behind.
func TestHandshakeThatDoesNotEnd(t *testing.T) {
	o := quick(startHandler(t, func(conn net.Conn) { io.Copy(io.Discard, conn) }))
	o.TLS, o.Stall = &load.TLS{Insecure: true}, 50*time.Millisecond
	_, err := load.Run(t.Context(), o)
	require.ErrorContains(t, err, "connect: no answer for 50ms")
}

func TestTLSThatCannotBe(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for want, change := range map[string]func(*load.Options){
		"tls-ca: it is not looked at":         func(o *load.Options) { o.TLS.CA, o.TLS.Insecure = empty, true },
		"there is no certificate in PEM":      func(o *load.Options) { o.TLS.CA = empty },
		"tls-ca: open /does/not/exist":        func(o *load.Options) { o.TLS.CA = "/does/not/exist" },
		"tls-name: a unix socket has no name": func(o *load.Options) { o.Network, o.Addr = "unix", "/does/not/exist" },
		`alpn: "" is no protocol`:             func(o *load.Options) { o.TLS.ALPN = []string{""} },
	} {
		o := quick(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
		o.TLS = &load.TLS{}
		change(&o)
		_, err := load.Run(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
}
