package compat_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

// startFasthttpClock makes fasthttp start the goroutine that keeps its Date header, which never ends.
func startFasthttpClock() { new(fasthttp.ResponseHeader).Header() }

// fasthttpServer is a running server.
type fasthttpServer struct {
	*fasthttp.Server
	opened, closed atomic.Int64 // connections
}

// serveFasthttp runs a server until the test ends. Its handler echoes bodies, or tells the path where there is none.
func serveFasthttp(t *testing.T, s side) *fasthttpServer {
	t.Helper()
	server := new(fasthttpServer)
	server.Server = &fasthttp.Server{
		Name:                  "test",
		MaxIdleWorkerDuration: 10 * time.Millisecond, // also how long a worker takes to notice that it is over
		MaxRequestBodySize:    2 * largeMessage,
		Handler: func(ctx *fasthttp.RequestCtx) {
			if body := ctx.PostBody(); len(body) > 0 {
				ctx.Write(body)
				return
			}
			ctx.Write(ctx.Path())
		},
		ConnState: func(_ net.Conn, state fasthttp.ConnState) {
			switch state {
			case fasthttp.StateNew:
				server.opened.Add(1)
			case fasthttp.StateClosed:
				server.closed.Add(1)
			}
		},
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.ln) }()
	t.Cleanup(func() {
		require.NoError(t, server.Shutdown())
		require.NoError(t, receive(t, served))
		eventually(t, func() bool { return server.opened.Load() == server.closed.Load() }, "every connection has ended")
	})
	return server
}

// fasthttpClient is fasthttp's own, with at most that many connections.
func fasthttpClient(t *testing.T, s side, connections int) *fasthttp.HostClient {
	client := &fasthttp.HostClient{
		Addr:               s.addr(),
		MaxConns:           connections,
		MaxConnWaitTimeout: patience,
		ReadTimeout:        patience,
		WriteTimeout:       patience,
		Dial:               func(addr string) (net.Conn, error) { return s.dial(t.Context(), "tcp", addr) },
		// also how long its cleaner takes to notice that it is over
		MaxIdleConnDuration: 100 * time.Millisecond,
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func postFasthttp(client *fasthttp.HostClient, path string, body []byte) ([]byte, error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI("http://test" + path)
	request.Header.SetMethod(fasthttp.MethodPost)
	request.SetBody(body)
	if err := client.Do(request, response); err != nil {
		return nil, err
	}
	if response.StatusCode() != fasthttp.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode())
	}
	return bytes.Clone(response.Body()), nil
}

func TestFasthttpKeepAlive(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		server := serveFasthttp(t, s)
		client := fasthttpClient(t, s, 10)
		together(t, 40, func(i int) error {
			for j := range 50 {
				path := fmt.Sprintf("/%d/%d", i, j)
				got, err := postFasthttp(client, path, nil)
				if err != nil {
					return err
				}
				if string(got) != path {
					return fmt.Errorf("got %q", got)
				}
			}
			return nil
		})
		require.Less(t, server.opened.Load(), int64(100), "2,000 requests, on connections that are kept")
	})
}

func TestFasthttpLargeBodies(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveFasthttp(t, s)
		client := fasthttpClient(t, s, 1)
		for i, size := range []int{1, 4096, 1 << 20, largeMessage} {
			sent := message(i, size)
			got, err := postFasthttp(client, "/", sent)
			require.NoError(t, err)
			require.True(t, bytes.Equal(sent, got), "%d bytes, %d came back", len(sent), len(got))
		}
	})
}

func TestFasthttpPipelined(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveFasthttp(t, s)
		expectPipelined(t, s.connect(t), 1000)
	})
}

// Shutdown ends idle connections.
func TestFasthttpShutdown(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		server := serveFasthttp(t, s)
		c := s.connect(t)
		_, err := io.WriteString(c, "GET /idle HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		reader := bufio.NewReader(c)
		var response fasthttp.Response
		require.NoError(t, response.Read(reader))
		require.Equal(t, "/idle", string(response.Body()))
		require.NoError(t, server.Shutdown())
		_, err = reader.ReadByte()
		require.Equal(t, io.EOF, err)
		s.refused(t)
	})
}
