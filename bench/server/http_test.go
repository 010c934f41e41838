package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/bench/server"
)

func TestHTTP(t *testing.T) {
	long := strings.Repeat("0123456789", 20000)
	onEveryEngine(t, server.ProtoHTTP, func(t *testing.T, srv server.Server, _ <-chan error) {
		conn := dial(t, srv) // all requests go over one connection
		reader := bufio.NewReader(conn)
		for _, c := range []struct {
			method, path, sends string
			status              int
			want                string
		}{
			{"GET", "/", "", 200, "hello, world\n"},
			{"POST", "/echo", "", 200, ""},
			{"POST", "/echo", "short", 200, "short"},
			{"POST", "/echo", long, 200, long},
			{"GET", "/bytes?n=0", "", 200, ""},
			{"GET", "/bytes?n=12", "", 200, "012345678901"},
			{"GET", "/bytes?n=200000", "", 200, long},
			{"GET", "/bytes", "", 400, "n must be a number from 0 to 1073741824\n"},
			{"GET", "/bytes?n=-1", "", 400, "n must be a number from 0 to 1073741824\n"},
			{"GET", "/bytes?n=1073741825", "", 400, "n must be a number from 0 to 1073741824\n"},
			{"GET", "/echo", "", 405, "Method Not Allowed\n"},
			{"GET", "/other", "", 404, "404 page not found\n"},
		} {
			sent := make(chan error, 1)
			go func() {
				_, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", c.method, c.path, len(c.sends), c.sends)
				sent <- err
			}()
			response, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, <-sent)
			require.Equal(t, c.status, response.StatusCode, "%s %s", c.method, c.path)
			require.True(t, c.want == string(body), "%s %s: %d bytes, not %d: %.100q", c.method, c.path, len(body), len(c.want), body)
		}
	})
}

// begin sends half a request to /echo and waits until its handler runs.
func begin(t *testing.T, srv server.Server) (io.ReadWriteCloser, *bufio.Reader) {
	conn := dial(t, srv)
	_, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
		line, err := reader.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, line)
	}
	_, err = io.WriteString(conn, "first")
	require.NoError(t, err)
	return conn, reader
}

func TestHTTPShutdownWaitsForRequests(t *testing.T) {
	onEveryEngine(t, server.ProtoHTTP, func(t *testing.T, srv server.Server, served <-chan error) {
		conn, reader := begin(t, srv)
		down := make(chan error, 1)
		go func() { down <- srv.Shutdown(context.Background()) }()
		requireRefused(t, srv)
		require.Empty(t, down)
		_, err := io.WriteString(conn, "later")
		require.NoError(t, err)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, "firstlater", string(body))
		require.NoError(t, <-down)
		require.NoError(t, <-served)
	})
}

func TestHTTPShutdownForces(t *testing.T) {
	onEveryEngine(t, server.ProtoHTTP, func(t *testing.T, srv server.Server, served <-chan error) {
		_, reader := begin(t, srv)
		ctx, cancel := context.WithCancel(t.Context())
		down := make(chan error, 1)
		go func() { down <- srv.Shutdown(ctx) }()
		requireRefused(t, srv)
		cancel()
		require.ErrorIs(t, <-down, context.Canceled)
		require.NoError(t, <-served)
		_, err := http.ReadResponse(reader, nil)
		require.Error(t, err, "what came of the answer is cut short")
	})
}

// A server that retires answers what it is asked, and says with the answer that it is the last.
func TestHTTPRetire(t *testing.T) {
	onEveryEngine(t, server.ProtoHTTP, func(t *testing.T, srv server.Server, served <-chan error) {
		conn := dial(t, srv)
		reader := bufio.NewReader(conn)
		get := func() *http.Response {
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			require.NoError(t, err)
			response, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, "hello, world\n", string(body))
			return response
		}
		require.False(t, get().Close)
		down := make(chan error, 1)
		go func() { down <- srv.Retire(context.Background()) }()
		requireRefused(t, srv)
		require.Empty(t, down)
		require.True(t, get().Close)
		_, err := reader.ReadByte()
		require.Equal(t, io.EOF, err)
		require.NoError(t, <-down)
		require.NoError(t, srv.Shutdown(t.Context()))
		require.NoError(t, <-served)
	})
}
