package compat_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// onEachTLS runs test with an http.Server that speaks TLS in each way that there is to make it, on each subject. The client's
// connections are TLS too.
func onEachTLS(t *testing.T, protocol string, handler http.Handler, test func(t *testing.T, h *httpServer, client *http.Client)) {
	for _, c := range []struct {
		name  string
		serve func(server *http.Server, config *tls.Config) func(net.Listener) error
	}{
		{"ServeTLS", func(server *http.Server, config *tls.Config) func(net.Listener) error {
			server.TLSConfig = config
			return func(ln net.Listener) error { return server.ServeTLS(ln, "", "") }
		}},
		{"tls.NewListener", func(server *http.Server, config *tls.Config) func(net.Listener) error {
			config = config.Clone()
			config.NextProtos = []string{"h2", "http/1.1"}
			server.TLSConfig = config
			return func(ln net.Listener) error { return server.Serve(tls.NewListener(ln, config)) }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			serverConfig, clientConfig := tlsConfigs(t)
			onEachSubject(t, func(t *testing.T, s side) {
				h := newHTTPServer(s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Proto != protocol || r.TLS == nil {
						http.Error(w, "came by "+r.Proto, http.StatusHTTPVersionNotSupported)
						return
					}
					handler.ServeHTTP(w, r)
				})})
				h.start(t, c.serve(h.Server, serverConfig))
				client := s.client(t, clientConfig.Clone())
				client.Transport.(*http.Transport).ForceAttemptHTTP2 = protocol == "HTTP/2.0"
				test(t, h, client)
			})
		})
	}
}

func TestTLSKeepAlive(t *testing.T) {
	for _, c := range []struct{ protocol, alpn string }{{"HTTP/2.0", "h2"}, {"HTTP/1.1", ""}} {
		t.Run(c.protocol, func(t *testing.T) {
			onEachTLS(t, c.protocol, testMux(), func(t *testing.T, h *httpServer, client *http.Client) {
				for i := range 100 {
					path := fmt.Sprintf("/path/%d", i)
					response, err := client.Get("https://" + h.addr() + path)
					body, err := answer(response, err, http.StatusOK)
					require.NoError(t, err)
					require.Equal(t, path, body)
					require.Equal(t, c.protocol, response.Proto)
					require.Equal(t, c.alpn, response.TLS.NegotiatedProtocol)
				}
				require.Less(t, h.opened.Load(), int64(5), "on a connection that is kept")
			})
		})
	}
}

func TestTLSLargeBodies(t *testing.T) {
	for _, protocol := range []string{"HTTP/2.0", "HTTP/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			onEachTLS(t, protocol, testMux(), func(t *testing.T, h *httpServer, client *http.Client) {
				expectBodies(t, client, "https://"+h.addr(), 8<<20)
			})
		})
	}
}

// All streams are open at the same time on one connection, and each gets its own bytes.
func TestHTTP2ConcurrentStreams(t *testing.T) {
	const streams = 100
	var open atomic.Int64
	all := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			return
		}
		if open.Add(1) == streams {
			close(all)
		}
		<-all
		io.Copy(w, io.MultiReader(strings.NewReader(r.URL.Path), r.Body))
	})
	onEachTLS(t, "HTTP/2.0", handler, func(t *testing.T, h *httpServer, client *http.Client) {
		open.Store(0)
		all = make(chan struct{})
		response, err := client.Get("https://" + h.addr() + "/first") // the others find the connection open
		_, err = answer(response, err, http.StatusOK)
		require.NoError(t, err)
		together(t, streams, func(i int) error {
			path, sent := fmt.Sprintf("/%d", i), strings.Repeat(fmt.Sprintf(" %d", i), 10000)
			response, err := client.Post("https://"+h.addr()+path, "text/plain", strings.NewReader(sent))
			body, err := answer(response, err, http.StatusOK)
			if err == nil && body != path+sent {
				err = fmt.Errorf("got %d bytes of %d", len(body), len(path+sent))
			}
			return err
		})
		require.EqualValues(t, 1, h.opened.Load(), "all on one connection")
	})
}

// A stream that its client has left ends its handler, and only that.
func TestHTTP2StreamsAreAborted(t *testing.T) {
	ended := make(chan error, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/endless":
			io.Copy(w, endless{})
			<-r.Context().Done()
			ended <- r.Context().Err()
		case "/abort":
			io.WriteString(w, "begun")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		default:
			io.WriteString(w, "well")
		}
	})
	onEachTLS(t, "HTTP/2.0", handler, func(t *testing.T, h *httpServer, client *http.Client) {
		url := "https://" + h.addr()
		response, err := client.Get(url + "/endless")
		require.NoError(t, err)
		_, err = io.ReadFull(response.Body, make([]byte, 100<<10))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.ErrorIs(t, receive(t, ended), context.Canceled)

		response, err = client.Get(url + "/abort")
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, response.Body.Close())
		require.ErrorContains(t, err, "INTERNAL_ERROR")
		require.Equal(t, "begun", string(body))

		response, err = client.Get(url + "/well")
		well, err := answer(response, err, http.StatusOK)
		require.NoError(t, err)
		require.Equal(t, "well", well)
		require.EqualValues(t, 1, h.opened.Load(), "all on one connection")
	})
}

// Streams that have begun when Shutdown does are finished.
func TestHTTP2Shutdown(t *testing.T) {
	arrived := make(chan struct{}, 1)
	release := make(chan struct{}, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		io.Copy(w, r.Body)
	})
	onEachTLS(t, "HTTP/2.0", handler, func(t *testing.T, h *httpServer, client *http.Client) {
		const size = 8 << 20
		down := make(chan error, 1)
		go func() {
			<-arrived
			go func() { down <- h.Shutdown(context.Background()) }()
			h.refused(t)
			release <- struct{}{}
		}()
		response, err := client.Post("https://"+h.addr(), "application/octet-stream", generated(size))
		require.NoError(t, err)
		got, err := digest(response.Body)
		require.NoError(t, response.Body.Close())
		require.NoError(t, err)
		require.Equal(t, digestOf(t, size), got)
		require.NoError(t, receive(t, down))
	})
}

// A client that does not speak TLS is told so, and others go on.
func TestTLSClientInTheClear(t *testing.T) {
	onEachTLS(t, "HTTP/1.1", testMux(), func(t *testing.T, h *httpServer, client *http.Client) {
		c := h.connect(t)
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		rest, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(rest), "HTTP/1.0 400 Bad Request\r\n"), "%q", rest)
		response, err := client.Get("https://" + h.addr() + "/path/x")
		body, err := answer(response, err, http.StatusOK)
		require.NoError(t, err)
		require.Equal(t, "/path/x", body)
	})
}

// HTTP/2 in the clear, known to both beforehand.
func TestHTTP2Unencrypted(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		h := serveHTTP(t, s, &http.Server{Handler: testMux(), Protocols: &protocols})
		client := s.client(t, nil)
		client.Transport.(*http.Transport).Protocols = &protocols
		expectBodies(t, client, "http://"+s.addr(), 8<<20)
		together(t, 50, func(i int) error {
			path := fmt.Sprintf("/path/%d", i)
			response, err := client.Get("http://" + s.addr() + path)
			body, err := answer(response, err, http.StatusOK)
			if err == nil && (body != path || response.Proto != "HTTP/2.0") {
				err = fmt.Errorf("got %q by %s", body, response.Proto)
			}
			return err
		})
		require.EqualValues(t, 1, h.opened.Load(), "all on one connection")
	})
}
