//go:build unix

package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// metricsOf returns where a server tells of itself.
func (s *serving) metricsOf(t *testing.T) string {
	t.Helper()
	line, err := s.stdout.ReadString('\n')
	require.NoError(t, err)
	match := regexp.MustCompile(`^metrics on (http://127\.0\.0\.1:\d+)/metrics\n$`).FindStringSubmatch(line)
	require.NotNil(t, match, line)
	return match[1]
}

// get returns the answer to a GET, which must be 200.
func get(t *testing.T, url string) (body string, header http.Header) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode, url)
	all, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(all), response.Header
}

// A server tells of itself what it has to tell, also while it drains, and ends as it does without.
func TestServeMetrics(t *testing.T) {
	for _, c := range []struct {
		args                      []string
		hasServer, hasEngine, lag bool
	}{
		{[]string{"--engine", "coserver", "--loops", "2"}, true, true, true},
		{[]string{"--engine", "coserver", "--proto", "http"}, false, true, true},
		{[]string{"--engine", "loop"}, false, false, false},
		{[]string{"--engine", "net"}, false, false, false},
	} {
		t.Run(c.args[1]+" "+c.args[len(c.args)-1], func(t *testing.T) {
			s := serve(t, nil, append(c.args, "--metrics", "127.0.0.1:0", "--drain", "1h")...)
			base := s.metricsOf(t)
			if c.hasServer {
				s.dial(t)
			}
			text, header := get(t, base+"/metrics")
			require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", header.Get("Content-Type"))
			require.Regexp(t, `(?m)^go_goroutines [1-9]\d*$`, text)
			require.Regexp(t, `(?m)^go_memstats_heap_alloc_bytes \d`, text)
			for line, has := range map[string]bool{
				`(?m)^strand_server_accepted_connections_total\{server="strand"\} 1$`:      c.hasServer,
				`(?m)^strand_server_connections\{server="strand"\} 1$`:                     c.hasServer,
				`(?m)^strand_engine_take_overs_total\{engine="strand"\} \d+$`:              c.hasEngine,
				`(?m)^strand_engine_loop_turns_total\{engine="strand",loop="0"\} \d`:       c.hasEngine,
				`(?m)^strand_engine_loop_lag_seconds_count\{engine="strand",loop="0"\} \d`: c.lag,
			} {
				require.Equal(t, has, regexp.MustCompile(line).MatchString(text), "%s\n%s", line, text)
			}

			vars, _ := get(t, base+"/debug/vars")
			var all struct {
				Strand struct {
					Engine *struct{ Loops []struct{ Turns uint64 } }
					Server *struct{ Accepted uint64 }
				} `json:"strand"`
			}
			require.NoError(t, json.Unmarshal([]byte(vars), &all), vars)
			require.Equal(t, c.hasServer, all.Strand.Server != nil)
			require.Equal(t, c.hasEngine, all.Strand.Engine != nil)
			if c.hasServer {
				require.EqualValues(t, 1, all.Strand.Server.Accepted)
				require.Len(t, all.Strand.Engine.Loops, 2)
			}

			goroutines, _ := get(t, base+"/debug/pprof/goroutine?debug=1")
			require.Contains(t, goroutines, "goroutine profile: total")
			index, _ := get(t, base+"/debug/pprof/")
			require.Contains(t, index, "heap")

			require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			s.requireEnd(t)
		})
	}
}

// A drain can be watched.
func TestServeMetricsWhileItDrains(t *testing.T) {
	s := serve(t, nil, "--proto", "block", "--block", "park", "--for", "1h", "--metrics", "127.0.0.1:0", "--drain", "1h")
	base := s.metricsOf(t)
	conn, err := dialClient(s.addr, 1)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("x"))
	require.NoError(t, err)
	active := regexp.MustCompile(`(?m)^strand_server_connections\{server="strand"\} 1$`)
	isActive := func() bool { text, _ := get(t, base+"/metrics"); return active.MatchString(text) }
	require.Eventually(t, isActive, patience, time.Millisecond)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, s.refuses, patience, time.Millisecond)
	require.True(t, isActive())
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.requireEnd(t)
}
