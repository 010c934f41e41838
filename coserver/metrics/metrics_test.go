package metrics_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/metrics"
)

// Each figure has its line, with the labels in which it differs from others.
func TestText(t *testing.T) {
	server := coserver.ServerStats{
		Accepted: 10, Active: 2, HandshakeErrors: 3, HandlerErrors: 4, Panics: 5,
		Refused:  coserver.RefusedStats{MaxConns: 11, MaxConnsPerIP: 12, MaxGoroutines: 13, Shutdown: 14, Unwatched: 15},
		Paused:   coserver.PausedStats{MaxConns: 21, AcceptRate: 22, Descriptors: 23},
		TimedOut: coserver.TimedOutStats{Idle: 31, Read: 32, Write: 33, Handshake: 34},
		Queues:   coserver.QueueStats{Queued: 71, Refused: 72, RefusedTotal: 73, Dropped: 74, Lost: 75, Cut: 76, TimedOut: 77},
	}
	engine := coserver.Stats{
		TakeOvers: 41, Away: 42, AwayFor: 1500 * time.Millisecond, Apart: 43, Goroutines: 44, Computing: 45, InLine: 46,
		Loops: []coserver.LoopStats{
			{Conns: 51, Turns: 52, Events: 53, Ready: 54, Posted: 55, Lag: coserver.LagStats{
				Measured: 3, Total: 1250 * time.Millisecond,
				Within: []coserver.LagBucket{{Limit: 100 * time.Microsecond, Count: 1}, {Limit: time.Millisecond, Count: 2}},
			}},
			{Conns: 61, Turns: 62, Events: 63, Ready: 64, Posted: 65, Lag: coserver.LagStats{Within: []coserver.LagBucket{}}},
		},
	}
	var text strings.Builder
	require.NoError(t, metrics.Write(&text, append(metrics.OfServer("a\"b\\c\nd", server), metrics.OfEngine("main", engine)...)...))
	const name = `server="a\"b\\c\nd"`
	for _, line := range []string{
		"# TYPE strand_server_accepted_connections_total counter", "strand_server_accepted_connections_total{" + name + "} 10",
		"# TYPE strand_server_connections gauge", "strand_server_connections{" + name + "} 2",
		"strand_server_refused_connections_total{" + name + `,reason="max_conns"} 11`,
		"strand_server_refused_connections_total{" + name + `,reason="max_conns_per_ip"} 12`,
		"strand_server_refused_connections_total{" + name + `,reason="max_goroutines"} 13`,
		"strand_server_refused_connections_total{" + name + `,reason="shutdown"} 14`,
		"strand_server_refused_connections_total{" + name + `,reason="unwatched"} 15`,
		"strand_server_accept_pauses_total{" + name + `,reason="max_conns"} 21`,
		"strand_server_accept_pauses_total{" + name + `,reason="accept_rate"} 22`,
		"strand_server_accept_pauses_total{" + name + `,reason="descriptors"} 23`,
		"strand_server_timeouts_total{" + name + `,limit="idle"} 31`, "strand_server_timeouts_total{" + name + `,limit="read"} 32`,
		"strand_server_timeouts_total{" + name + `,limit="write"} 33`, "strand_server_timeouts_total{" + name + `,limit="handshake"} 34`,
		"# TYPE strand_server_queued_bytes gauge", "strand_server_queued_bytes{" + name + "} 71",
		"strand_server_refused_messages_total{" + name + `,reason="max_queued"} 72`,
		"strand_server_refused_messages_total{" + name + `,reason="max_queued_total"} 73`,
		"strand_server_dropped_messages_total{" + name + `,reason="drop_oldest"} 74`,
		"strand_server_dropped_messages_total{" + name + `,reason="connection_ended"} 75`,
		"strand_server_slow_connections_closed_total{" + name + `,reason="cut_slow"} 76`,
		"strand_server_slow_connections_closed_total{" + name + `,reason="timeout"} 77`,
		"strand_server_handshake_errors_total{" + name + "} 3", "strand_server_handler_errors_total{" + name + "} 4",
		"strand_server_handler_panics_total{" + name + "} 5",
		`strand_engine_take_overs_total{engine="main"} 41`, `strand_engine_handlers_away{engine="main"} 42`,
		`strand_engine_away_seconds_total{engine="main"} 1.5`, `strand_engine_servers_set_apart_total{engine="main"} 43`,
		`strand_engine_goroutines{engine="main"} 44`, `strand_engine_handlers_computing{engine="main"} 45`, `strand_engine_handlers_in_line{engine="main"} 46`,
		`strand_engine_loop_connections{engine="main",loop="0"} 51`, `strand_engine_loop_turns_total{engine="main",loop="0"} 52`,
		`strand_engine_loop_events_total{engine="main",loop="0"} 53`, `strand_engine_loop_ready{engine="main",loop="0"} 54`,
		`strand_engine_loop_posted{engine="main",loop="0"} 55`, `strand_engine_loop_posted{engine="main",loop="1"} 65`,
		"# TYPE strand_engine_loop_lag_seconds histogram",
		`strand_engine_loop_lag_seconds_bucket{engine="main",loop="0",le="0.0001"} 1`,
		`strand_engine_loop_lag_seconds_bucket{engine="main",loop="0",le="0.001"} 2`,
		`strand_engine_loop_lag_seconds_bucket{engine="main",loop="0",le="+Inf"} 3`,
		`strand_engine_loop_lag_seconds_sum{engine="main",loop="0"} 1.25`, `strand_engine_loop_lag_seconds_count{engine="main",loop="0"} 3`,
		`strand_engine_loop_lag_seconds_count{engine="main",loop="1"} 0`,
	} {
		require.Contains(t, text.String(), line+"\n")
	}
}

// The samples of several servers stand together under one head, as the format demands.
func TestFamiliesOfOneNameAreOne(t *testing.T) {
	var text strings.Builder
	families := append(metrics.OfServer("a", coserver.ServerStats{Active: 1}), metrics.OfServer("b", coserver.ServerStats{Active: 2})...)
	families = append(families, metrics.Family{Name: "plain", Help: "one\\two\nthree", Kind: metrics.Gauge, Samples: []metrics.Sample{{Value: 0.25}}})
	require.NoError(t, metrics.Write(&text, families...))
	require.Equal(t, 1, strings.Count(text.String(), "# TYPE strand_server_connections gauge\n"))
	require.Contains(t, text.String(), "strand_server_connections{server=\"a\"} 1\nstrand_server_connections{server=\"b\"} 2\n")
	require.True(t, strings.HasSuffix(text.String(), "# HELP plain one\\\\two\\nthree\n# TYPE plain gauge\nplain 0.25\n"))
	require.NotContains(t, text.String(), "lag", "nothing was measured")
}

func TestHandler(t *testing.T) {
	recorder := httptest.NewRecorder()
	metrics.Handler(func() []metrics.Family { return metrics.OfServer("a", coserver.ServerStats{}) }).ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, http.StatusOK, recorder.Code)
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", recorder.Header().Get("Content-Type"))
	require.Contains(t, recorder.Body.String(), `strand_server_connections{server="a"} 0`)
}

var errGone = errors.New("gone")

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errGone }

func TestWriteFails(t *testing.T) {
	require.ErrorIs(t, metrics.Write(gone{}, metrics.OfServer("a", coserver.ServerStats{})...), errGone)
	require.NoError(t, metrics.Write(io.Discard))
}
