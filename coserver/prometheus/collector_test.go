package prometheus_test

import (
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/metrics"
	"github.com/strand-net/strand/coserver/prometheus"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

const patience = 20 * time.Second

// started returns a server that has served one connection, which is still open, and its engine.
func started(t *testing.T) (*coserver.Engine, *coserver.Server) {
	leak.Check(t)
	engine, err := coserver.NewEngine(coserver.EngineConfig{Loops: 2, LagInterval: time.Millisecond})
	require.NoError(t, err)
	s := &coserver.Server{Engine: engine, MaxConns: 1, Overflow: coserver.Refuse, Handler: func(c *coserver.Conn) error {
		_, err := io.Copy(c, c)
		return err
	}}
	ln, err := s.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-served, coserver.ErrServerClosed)
		require.NoError(t, engine.Close())
	})
	c, err := net.DialTimeout("tcp", ln.Addr().String(), patience)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, "x")
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err)
	return engine, s
}

// The names are as Prometheus wants them, and the figures those of the servers and the engine, each under its label.
func TestCollectors(t *testing.T) {
	engine, s := started(t)
	idle := &coserver.Server{}
	registry := client.NewPedanticRegistry()
	for _, c := range []client.Collector{
		prometheus.NewServerCollector("echo", s), prometheus.NewServerCollector("idle", idle), prometheus.NewEngineCollector("main", engine),
	} {
		require.NoError(t, registry.Register(c))
		problems, err := testutil.CollectAndLint(c)
		require.NoError(t, err)
		require.Empty(t, problems)
	}
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP strand_server_accepted_connections_total Connections that were let in.
# TYPE strand_server_accepted_connections_total counter
strand_server_accepted_connections_total{server="echo"} 1
strand_server_accepted_connections_total{server="idle"} 0
# HELP strand_server_connections Connections whose handlers have not returned, or whose queues are not sent.
# TYPE strand_server_connections gauge
strand_server_connections{server="echo"} 1
strand_server_connections{server="idle"} 0
# HELP strand_server_refused_connections_total Connections that were closed without being served.
# TYPE strand_server_refused_connections_total counter
strand_server_refused_connections_total{reason="max_conns",server="echo"} 0
strand_server_refused_connections_total{reason="max_conns",server="idle"} 0
strand_server_refused_connections_total{reason="max_conns_per_ip",server="echo"} 0
strand_server_refused_connections_total{reason="max_conns_per_ip",server="idle"} 0
strand_server_refused_connections_total{reason="max_goroutines",server="echo"} 0
strand_server_refused_connections_total{reason="max_goroutines",server="idle"} 0
strand_server_refused_connections_total{reason="shutdown",server="echo"} 0
strand_server_refused_connections_total{reason="shutdown",server="idle"} 0
strand_server_refused_connections_total{reason="unwatched",server="echo"} 0
strand_server_refused_connections_total{reason="unwatched",server="idle"} 0
`), "strand_server_accepted_connections_total", "strand_server_connections", "strand_server_refused_connections_total"))
	require.Eventually(t, func() bool { return lagCount(t, registry) > 10 }, patience, time.Millisecond)
	require.Error(t, registry.Register(prometheus.NewServerCollector("echo", s)), "one name is one server")
}

func lagCount(t *testing.T, registry *client.Registry) uint64 {
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "strand_engine_loop_lag_seconds" {
			require.Len(t, f.GetMetric(), 2)
			return f.GetMetric()[1].GetHistogram().GetSampleCount()
		}
	}
	require.Fail(t, "no lag")
	return 0
}

// What package metrics writes without client_golang is what client_golang reads, and the same names.
func TestSameAsText(t *testing.T) {
	engine, s := started(t)
	registry := client.NewPedanticRegistry()
	require.NoError(t, registry.Register(prometheus.NewServerCollector("a\\b\"c\nd", s)))
	require.NoError(t, registry.Register(prometheus.NewEngineCollector("main", engine)))
	families := append(metrics.OfServer("a\\b\"c\nd", s.Stats()), metrics.OfEngine("main", engine.Stats())...)
	var names, still []string
	for _, f := range families {
		names = append(names, f.Name)
		if strings.HasPrefix(f.Name, "strand_server_") {
			still = append(still, f.Name)
		}
	}
	var text strings.Builder
	require.NoError(t, metrics.Write(&text, families...))
	sorted := regexp.MustCompile(`\{(server=".*"),(.*)\}`).ReplaceAllString(text.String(), "{$2,$1}") // as GatherAndCompare has labels
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(sorted), still...))
	gathered, err := registry.Gather()
	require.NoError(t, err)
	var have []string
	for _, f := range gathered {
		have = append(have, f.GetName())
	}
	slices.Sort(names)
	require.Equal(t, names, have)
}
