package scrape_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/result"
	"github.com/strand-net/strand/bench/scrape"
	"github.com/strand-net/strand/coserver/metrics"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// histogram has those latencies.
func histogram(all ...time.Duration) *result.Histogram {
	h := result.NewHistogram()
	for _, l := range all {
		h.Record(int64(l))
	}
	return h
}

func entry(operation, kind string, all ...time.Duration) result.Entry {
	return result.Entry{Operation: operation, Kind: kind, Histogram: histogram(all...)}
}

// read is what a scrape finds, by line.
func read(t *testing.T, e *scrape.Exporter) map[string]string {
	server := httptest.NewServer(e)
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	response, err := client.Get(server.URL)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, metrics.ContentType, response.Header.Get("Content-Type"))
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	lines := make(map[string]string)
	for l := range strings.Lines(string(text)) {
		i := strings.LastIndexByte(l, ' ')
		require.NotContains(t, lines, l[:i])
		lines[l[:i]] = strings.TrimSpace(l[i:])
	}
	return lines
}

func TestScrape(t *testing.T) {
	e := scrape.New(result.LogHeader{Run: "run-1", Shard: result.Shard{Index: 2, Of: 3}})
	lines := read(t, e)
	require.Equal(t, "1", lines[`strand_load_info{run="run-1",shard="2of3"}`])
	require.Equal(t, "0", lines["strand_load_errors_total"])
	require.NotContains(t, lines, "# TYPE strand_load_response_seconds")

	first := result.Interval{Target: 1000, Rate: 3, Errors: 2, Conns: 10, InFlight: 4}
	first.SetLatency(histogram(time.Millisecond, 3*time.Millisecond))
	e.Publish(first, []result.Entry{
		entry("set", result.KindResponse, time.Millisecond/2, 3*time.Millisecond),
		entry("get", result.KindResponse, 20*time.Second),
		entry("get", result.KindLag),
	})
	second := result.Interval{Target: 1001, Rate: 1, Errors: 1, Conns: 11, InFlight: 5}
	second.SetLatency(histogram(7 * time.Millisecond))
	e.Publish(second, []result.Entry{entry("set", result.KindResponse, 7*time.Millisecond)})

	lines = read(t, e)
	for name, want := range map[string]string{
		"strand_load_connections":  "11",
		"strand_load_in_flight":    "5",
		"strand_load_target_rate":  "1001",
		"strand_load_rate":         "1",
		"strand_load_errors_total": "3",

		"# TYPE strand_load_errors_total":     "counter",
		"# TYPE strand_load_response_seconds": "histogram",

		`strand_load_latest_response_seconds{quantile="0.5"}`: "0.007000063",

		`strand_load_response_seconds_bucket{operation="set",le="1e-05"}`:  "0",
		`strand_load_response_seconds_bucket{operation="set",le="0.001"}`:  "1",
		`strand_load_response_seconds_bucket{operation="set",le="0.0025"}`: "1",
		`strand_load_response_seconds_bucket{operation="set",le="0.005"}`:  "2",
		`strand_load_response_seconds_bucket{operation="set",le="0.01"}`:   "3",
		`strand_load_response_seconds_bucket{operation="set",le="10"}`:     "3",
		`strand_load_response_seconds_bucket{operation="set",le="+Inf"}`:   "3",
		`strand_load_response_seconds_count{operation="set"}`:              "3",
		`strand_load_response_seconds_bucket{operation="get",le="10"}`:     "0",
		`strand_load_response_seconds_bucket{operation="get",le="+Inf"}`:   "1",
		`strand_load_lag_seconds_count{operation="get"}`:                   "0",
	} {
		require.Equal(t, want, lines[name], name)
	}
	require.Regexp(t, `^0\.010[45]`, lines[`strand_load_response_seconds_sum{operation="set"}`])
	require.NotContains(t, lines, "# TYPE strand_load_service_seconds")
}

func TestScrapeBesideTheLoad(t *testing.T) {
	e := scrape.New(result.LogHeader{})
	var load sync.WaitGroup
	load.Go(func() {
		for range 100 {
			e.Publish(result.Interval{Errors: 1}, []result.Entry{entry("echo", result.KindResponse, time.Millisecond)})
		}
	})
	for range 20 {
		lines := read(t, e)
		if count, told := lines[`strand_load_response_seconds_count{operation="echo"}`]; told {
			require.Equal(t, count, lines["strand_load_errors_total"], "a scrape sees whole seconds")
		}
	}
	load.Wait()
	require.Equal(t, "100", read(t, e)["strand_load_errors_total"])
}
