package compat_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A client that goes away in mid-response ends the handler: its writes fail, and its context is cancelled.
func TestHTTPClientAborts(t *testing.T) {
	for _, c := range []struct {
		name  string
		abort func(t *testing.T, c net.Conn)
	}{
		{"closed with input unread", func(t *testing.T, c net.Conn) { require.NoError(t, c.Close()) }},
		{"reset", func(t *testing.T, c net.Conn) {
			require.NoError(t, c.(interface{ SetLinger(int) error }).SetLinger(0))
			require.NoError(t, c.Close())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEachSubject(t, func(t *testing.T, s side) {
				failed := make(chan error, 1)
				cancelled := make(chan error, 1)
				serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, err := io.Copy(w, endless{})
					failed <- err
					<-r.Context().Done()
					cancelled <- r.Context().Err()
				})})
				client, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr()) // SetLinger is package net's
				require.NoError(t, err)
				defer client.Close()
				_, err = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				require.NoError(t, err)
				_, err = io.ReadFull(client, make([]byte, 100<<10))
				require.NoError(t, err)
				c.abort(t, client)
				err = receive(t, failed)
				require.Truef(t, errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET), "%v", err)
				require.ErrorIs(t, receive(t, cancelled), context.Canceled)
			})
		})
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A client that goes away while the handler computes is noticed, for the server reads in the background.
func TestHTTPClientLeavesWaitingHandler(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		begun := make(chan struct{}, 1)
		cancelled := make(chan error, 1)
		serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			begun <- struct{}{}
			<-r.Context().Done()
			cancelled <- r.Context().Err()
		})})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-begun
			cancel()
		}()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr(), nil)
		require.NoError(t, err)
		_, err = s.client(t, nil).Do(request)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, receive(t, cancelled), context.Canceled)
	})
}

// A handler that gives up ends its connection, in mid-response or before it; others go on.
func TestHTTPServerAborts(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/late":
				w.Header().Set("Content-Length", "1000")
				io.WriteString(w, "begun")
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case "/chunked":
				io.WriteString(w, "begun")
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case "/early":
				panic(http.ErrAbortHandler)
			}
			io.WriteString(w, "well")
		})})
		client := s.client(t, nil)
		for range 20 {
			for _, path := range []string{"/late", "/chunked"} {
				response, err := client.Get("http://" + s.addr() + path)
				require.NoError(t, err)
				body, err := io.ReadAll(response.Body)
				require.NoError(t, response.Body.Close())
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				require.Equal(t, "begun", string(body))
			}
			c := s.connect(t) // a client would try again
			_, err := io.WriteString(c, "GET /early HTTP/1.1\r\nHost: x\r\n\r\n")
			require.NoError(t, err)
			rest, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Empty(t, rest)
			response, err := client.Get("http://" + s.addr() + "/well")
			body, err := answer(response, err, http.StatusOK)
			require.NoError(t, err)
			require.Equal(t, "well", body)
		}
	})
}

// The answer to a body that is too large arrives, although the client is still sending and the server does not read on.
func TestHTTPAnswerBeforeTheBodyIsSent(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1000))
			http.Error(w, fmt.Sprint(err), http.StatusRequestEntityTooLarge)
		})})
		const size = 2 << 20
		for range 10 {
			c := s.connect(t)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
				io.Copy(c, generated(size)) // fails when the server has ended the connection
			}()
			response, err := http.ReadResponse(bufio.NewReader(c), nil)
			body, err := answer(response, err, http.StatusRequestEntityTooLarge)
			require.NoError(t, err)
			require.Equal(t, "http: request body too large\n", body)
			require.True(t, response.Close)
			require.NoError(t, c.Close())
			receive(t, sent)
		}
	})
}
