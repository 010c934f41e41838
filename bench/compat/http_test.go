package compat_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// large is the size of a body that no buffer on its way holds.
const large = 100 << 20

// httpServer is a running http.Server.
type httpServer struct {
	*http.Server
	side
	served chan error

	opened, closed atomic.Int64 // connections
}

// serveHTTP runs server until the test ends, or until it shuts it down itself.
func serveHTTP(t *testing.T, s side, server *http.Server) *httpServer {
	h := newHTTPServer(s, server)
	h.start(t, server.Serve)
	return h
}

func newHTTPServer(s side, server *http.Server) *httpServer {
	h := &httpServer{Server: server, side: s, served: make(chan error, 1)}
	server.ErrorLog = log.New(io.Discard, "", 0)
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			h.opened.Add(1)
		case http.StateClosed, http.StateHijacked:
			h.closed.Add(1)
		}
	}
	return h
}

func (h *httpServer) start(t *testing.T, serve func(net.Listener) error) {
	go func() { h.served <- serve(h.ln) }()
	t.Cleanup(func() {
		h.Close()
		require.ErrorIs(t, receive(t, h.served), http.ErrServerClosed)
		eventually(t, func() bool { return h.opened.Load() == h.closed.Load() }, "every connection has ended")
	})
}

// client makes the connections of its side.
func (s side) client(t *testing.T, config *tls.Config) *http.Client {
	transport := &http.Transport{
		DialContext:           s.dial,
		TLSClientConfig:       config,
		ForceAttemptHTTP2:     config != nil,
		DisableCompression:    true,
		ExpectContinueTimeout: patience,
		MaxIdleConnsPerHost:   100,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// answer reads a response whole and wants it to be of that status.
func answer(response *http.Response, err error, status int) (string, error) {
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != status {
		err = fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	return string(body), err
}

// testMux has the handlers that most tests need.
func testMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/path/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
	mux.HandleFunc("/echo", echoHTTP)
	mux.HandleFunc("/down", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.FormValue("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		io.Copy(w, generated(n))
	})
	mux.HandleFunc("/up", func(w http.ResponseWriter, r *http.Request) {
		got, err := digest(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		io.WriteString(w, got)
	})
	return mux
}

// echoHTTP reads while it writes. Without full duplex net/http drops what is unread of a body when the answer begins.
func echoHTTP(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	io.Copy(w, r.Body)
}

func TestHTTPKeepAlive(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		h := serveHTTP(t, s, &http.Server{Handler: testMux()})
		client := s.client(t, nil)
		for i := range 500 {
			path := fmt.Sprintf("/path/%d", i)
			response, err := client.Get("http://" + s.addr() + path)
			body, err := answer(response, err, http.StatusOK)
			require.NoError(t, err)
			require.Equal(t, path, body)
		}
		require.Less(t, h.opened.Load(), int64(5), "on a connection that is kept") // the client gives one up that it finds slow
	})
}

func TestHTTPConcurrentClients(t *testing.T) {
	for _, c := range []struct {
		name        string
		keep        bool
		clients     int
		requests    int
		connections int64
	}{
		{"kept", true, 50, 40, 50},
		{"churn", false, 20, 25, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEachSubject(t, func(t *testing.T, s side) {
				h := serveHTTP(t, s, &http.Server{Handler: testMux()})
				together(t, c.clients, func(i int) error {
					client := &http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: !c.keep}, Timeout: patience}
					defer client.CloseIdleConnections()
					for j := range c.requests {
						sent := fmt.Sprintf("%d of %d", j, i)
						response, err := client.Post("http://"+s.addr()+"/echo", "text/plain", strings.NewReader(sent))
						back, err := answer(response, err, http.StatusOK)
						if err != nil {
							return err
						}
						if back != sent {
							return fmt.Errorf("sent %q, got %q", sent, back)
						}
					}
					return nil
				})
				// A client gives up a connection that it finds slow.
				require.GreaterOrEqual(t, h.opened.Load(), c.connections)
				require.Less(t, h.opened.Load(), 2*c.connections)
				eventually(t, func() bool { return h.closed.Load() == h.opened.Load() }, "all are closed")
			})
		})
	}
}

// Requests that come all at once are answered in order.
func TestHTTPPipelined(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveHTTP(t, s, &http.Server{Handler: testMux()})
		expectPipelined(t, s.connect(t), 1000)
	})
}

// expectPipelined sends count requests at once, the last with Connection: close, and expects the answers and the end.
func expectPipelined(t *testing.T, c net.Conn, count int) {
	t.Helper()
	var requests strings.Builder
	for i := range count {
		fmt.Fprintf(&requests, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n", len(fmt.Sprint(i)))
		if i == count-1 {
			requests.WriteString("Connection: close\r\n")
		}
		fmt.Fprintf(&requests, "\r\n%d", i)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, requests.String())
		sent <- err
	}()
	reader := bufio.NewReader(c)
	for i := range count {
		response, err := http.ReadResponse(reader, nil)
		body, err := answer(response, err, http.StatusOK)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), body)
	}
	require.NoError(t, receive(t, sent))
	_, err := reader.ReadByte()
	require.Equal(t, io.EOF, err)
}

// One server is given its requests in pieces, down to single bytes.
func TestHTTPSlowlySentRequest(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveHTTP(t, s, &http.Server{Handler: testMux()})
		c := s.connect(t)
		reader := bufio.NewReader(c)
		for range 3 {
			for _, b := range []byte("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") {
				_, err := c.Write([]byte{b})
				require.NoError(t, err)
			}
			response, err := http.ReadResponse(reader, nil)
			body, err := answer(response, err, http.StatusOK)
			require.NoError(t, err)
			require.Equal(t, "abcde", body)
		}
	})
}

func TestHTTPLargeBodies(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveHTTP(t, s, &http.Server{Handler: testMux()})
		expectBodies(t, s.client(t, nil), "http://"+s.addr(), large)
	})
}

// expectBodies sends and fetches bodies of that size, with and without a length.
func expectBodies(t *testing.T, client *http.Client, url string, size int64) {
	t.Helper()
	want := digestOf(t, size)
	response, err := client.Get(fmt.Sprintf("%s/down?n=%d", url, size))
	require.NoError(t, err)
	got, err := digest(response.Body)
	require.NoError(t, response.Body.Close())
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, length := range []int64{size, -1} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/up", generated(size))
		require.NoError(t, err)
		request.ContentLength = length
		response, err := client.Do(request)
		got, err := answer(response, err, http.StatusOK)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// What the handler reads while it writes: the same connection in both directions at once.
func TestHTTPFullDuplex(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(echoHTTP)})
		const size = 20 << 20
		response, err := s.client(t, nil).Post("http://"+s.addr(), "application/octet-stream", generated(size))
		require.NoError(t, err)
		defer response.Body.Close()
		got, err := digest(response.Body)
		require.NoError(t, err)
		require.Equal(t, digestOf(t, size), got)
	})
}

// A file goes out by whatever way net/http finds in the connection: sendfile on package net's.
func TestHTTPFile(t *testing.T) {
	const size = 10 << 20
	path := filepath.Join(t.TempDir(), "file")
	file, err := os.Create(path)
	require.NoError(t, err)
	_, err = io.Copy(file, generated(size))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	onEachSubject(t, func(t *testing.T, s side) {
		serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })})
		client := s.client(t, nil)
		response, err := client.Get("http://" + s.addr())
		require.NoError(t, err)
		defer response.Body.Close()
		require.EqualValues(t, size, response.ContentLength)
		got, err := digest(response.Body)
		require.NoError(t, err)
		require.Equal(t, digestOf(t, size), got)

		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr(), nil)
		require.NoError(t, err)
		request.Header.Set("Range", "bytes=1000-1999")
		response, err = client.Do(request)
		part, err := answer(response, err, http.StatusPartialContent)
		require.NoError(t, err)
		want, err := io.ReadAll(generated(2000))
		require.NoError(t, err)
		require.Equal(t, string(want[1000:]), part)
	})
}

func TestHTTPTrailers(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got, err := digest(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Trailer", "Got, Told")
			io.WriteString(w, "body")
			http.NewResponseController(w).Flush()
			w.Header().Set("Got", got)
			w.Header().Set("Told", r.Trailer.Get("Sum"))
		})})
		const size = 1 << 20
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr(), generated(size))
		require.NoError(t, err)
		request.Trailer = http.Header{"Sum": {"told by the client"}}
		response, err := s.client(t, nil).Do(request)
		body, err := answer(response, err, http.StatusOK)
		require.NoError(t, err)
		require.Equal(t, "body", body)
		require.Equal(t, http.Header{"Got": {digestOf(t, size)}, "Told": {"told by the client"}}, response.Trailer)
	})
}

// A body that is announced is sent when the handler reads it, and only then.
func TestHTTPExpectContinue(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/refuse" {
				http.Error(w, "refused", http.StatusExpectationFailed)
				return
			}
			io.Copy(w, r.Body)
		})})
		client := s.client(t, nil)
		for _, c := range []struct {
			path   string
			status int
			body   string
			read   bool
		}{
			{"/echo", http.StatusOK, "the body", true},
			{"/refuse", http.StatusExpectationFailed, "refused\n", false},
		} {
			var read atomic.Bool
			sent := strings.NewReader("the body")
			body := readFunc(func(p []byte) (int, error) {
				read.Store(true)
				return sent.Read(p)
			})
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr()+c.path, body)
			require.NoError(t, err)
			request.ContentLength = sent.Size()
			request.Header.Set("Expect", "100-continue")
			response, err := client.Do(request)
			got, err := answer(response, err, c.status)
			require.NoError(t, err)
			require.Equal(t, c.body, got)
			require.Equal(t, c.read, read.Load())
		}
	})
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// What has come already when the handler takes the connection over belongs to it, and nothing else reads any more.
func TestHTTPHijack(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		ended := make(chan error, 1)
		h := serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, both, err := w.(http.Hijacker).Hijack()
			if err != nil {
				ended <- err
				return
			}
			defer c.Close()
			io.WriteString(both, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			if err := both.Flush(); err != nil {
				ended <- err
				return
			}
			_, err = io.Copy(c, both)
			ended <- err
		})})
		c := s.connect(t)
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\nsent along")
		require.NoError(t, err)
		reader := bufio.NewReader(c)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
		for _, text := range []string{"sent along", "and", "then more"} {
			if text != "sent along" {
				_, err := io.WriteString(c, text)
				require.NoError(t, err)
			}
			back := make([]byte, len(text))
			_, err := io.ReadFull(reader, back)
			require.NoError(t, err)
			require.Equal(t, text, string(back))
		}
		require.NoError(t, c.Close())
		require.NoError(t, receive(t, ended))
		require.EqualValues(t, 1, h.closed.Load())
	})
}

// Shutdown refuses new clients, ends idle connections, and waits for the requests that run.
func TestHTTPShutdown(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		const requests = 10
		arrived := make(chan struct{}, requests)
		release := make(chan struct{})
		h := serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/wait" {
				io.WriteString(w, "begun, ")
				http.NewResponseController(w).Flush()
				arrived <- struct{}{}
				<-release
			}
			io.WriteString(w, "done")
		})})
		idle := s.connect(t)
		_, err := io.WriteString(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		reader := bufio.NewReader(idle)
		response, err := http.ReadResponse(reader, nil)
		body, err := answer(response, err, http.StatusOK)
		require.NoError(t, err)
		require.Equal(t, "done", body)

		client := s.client(t, nil)
		var down chan error
		var running sync.WaitGroup
		running.Go(func() {
			defer close(release)
			for range requests {
				<-arrived
			}
			down = make(chan error, 1)
			go func() { down <- h.Shutdown(context.Background()) }()
			s.refused(t)
			_, err := reader.ReadByte()
			if err != io.EOF {
				t.Errorf("the idle connection: %v", err)
			}
			if len(down) > 0 {
				t.Error("Shutdown has returned before the requests have")
			}
		})
		together(t, requests, func(int) error {
			response, err := client.Get("http://" + s.addr() + "/wait")
			body, err := answer(response, err, http.StatusOK)
			if err == nil && body != "begun, done" {
				err = fmt.Errorf("got %q", body)
			}
			return err
		})
		running.Wait()
		require.NoError(t, receive(t, down))
		require.GreaterOrEqual(t, h.opened.Load(), int64(requests+1)) // and those that came before new ones were refused
	})
}
