package compat_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A server's time limits end a connection at which nothing happens. The limits are short, and no test waits for longer than
// they take; the patience of the client is what would fail it.
func TestHTTPTimeouts(t *testing.T) {
	const limit = 50 * time.Millisecond
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	const wholeAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"
	const badRequest = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"
	header := func(server *http.Server) { server.ReadHeaderTimeout = limit }
	idle := func(server *http.Server) { server.IdleTimeout = limit }
	whole := func(server *http.Server) { server.ReadTimeout = limit }
	for _, c := range []struct {
		name  string
		set   func(server *http.Server)
		sends string
		want  string
	}{
		{"no header", header, "", ""},
		{"half a header", header, "GET / HTTP/1.1\r\nHo", badRequest},
		{"half a later header", header, request + "GET /", wholeAnswer + badRequest},
		{"idle", idle, request, wholeAnswer},
		{"idle after three", idle, strings.Repeat(request, 3), strings.Repeat(wholeAnswer, 3)},
		{"half a body", whole, "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
			"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nConnection: close\r\n\r\n4 bytes, timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEachSubject(t, func(t *testing.T, s side) {
				var server http.Server
				c.set(&server)
				server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header()["Date"], w.Header()["Content-Type"] = nil, nil
					if r.URL.Path != "/read" {
						io.WriteString(w, "done")
						return
					}
					body, err := io.ReadAll(r.Body)
					if errors.Is(err, os.ErrDeadlineExceeded) {
						err = errors.New("timeout")
					}
					fmt.Fprintf(w, "%d bytes, %v", len(body), err)
				})
				serveHTTP(t, s, &server)
				begun := time.Now()
				client := s.connect(t)
				_, err := io.WriteString(client, c.sends)
				require.NoError(t, err)
				got, err := io.ReadAll(client)
				require.NoError(t, err)
				require.Equal(t, c.want, string(got))
				require.GreaterOrEqual(t, time.Since(begun), limit)
			})
		})
	}
}

// A handler whose client does not read is ended by the write timeout.
func TestHTTPWriteTimeout(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		const limit = 50 * time.Millisecond
		failed := make(chan error, 1)
		serveHTTP(t, s, &http.Server{WriteTimeout: limit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(w, endless{})
			failed <- err
		})})
		begun := time.Now()
		client := s.connect(t)
		_, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		require.ErrorIs(t, receive(t, failed), os.ErrDeadlineExceeded)
		require.GreaterOrEqual(t, time.Since(begun), limit)
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
}

// A handler may move its limits on as it gets along.
func TestHTTPDeadlinesOfAHandler(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		read := make(chan error, 2)
		more := make(chan struct{})
		serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			c.SetReadDeadline(time.Now().Add(patience))
			c.SetWriteDeadline(time.Now().Add(patience))
			p := make([]byte, 5)
			_, err := io.ReadFull(r.Body, p)
			read <- err
			<-more
			c.SetReadDeadline(time.Now().Add(-time.Second))
			_, err = r.Body.Read(p)
			read <- err
			w.Header().Set("Connection", "close")
			io.WriteString(w, "given up")
		})})
		c := s.connect(t)
		_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst")
		require.NoError(t, err)
		require.NoError(t, receive(t, read))
		close(more)
		require.ErrorIs(t, receive(t, read), os.ErrDeadlineExceeded)
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		body, err := answer(response, err, http.StatusOK)
		require.NoError(t, err)
		require.Equal(t, "given up", body)
	})
}
