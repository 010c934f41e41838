package httpserve_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/httpserve"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

const patience = 20 * time.Second

// serving is a coserver.Server that serves HTTP.
type serving struct {
	*coserver.Server
	http *http.Server
	addr string
}

// onEachCarrier runs test with a server whose connections are all of HTTP; change may change it before.
func onEachCarrier(t *testing.T, handler http.Handler, change func(*serving), test func(t *testing.T, s *serving)) {
	for _, carrier := range []coserver.Carrier{coserver.Inline, coserver.Channel} {
		t.Run(carrier.String(), func(t *testing.T) {
			leak.Check(t)
			s := &serving{Server: &coserver.Server{Carrier: carrier, Logger: slog.New(slog.DiscardHandler)},
				http: &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}}
			if change != nil {
				change(s)
			}
			if web := httpserve.Handler(s.http); s.Handler == nil {
				s.Handler = web
			}
			ln, err := s.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			s.addr = ln.Addr().String()
			served := make(chan error, 1)
			go func() { served <- s.Serve(ln) }()
			t.Cleanup(func() {
				require.NoError(t, s.Close())
				require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
			})
			test(t, s)
		})
	}
}

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond, what)
}

// client is a connection of a client that writes its requests by hand.
type client struct {
	*testing.T
	net.Conn
	*bufio.Reader
}

func (s *serving) dial(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func (c *client) send(text string) {
	c.Helper()
	_, err := io.WriteString(c.Conn, text)
	require.NoError(c, err)
}

// answer reads one answer and returns it with its body.
func (c *client) answer() (*http.Response, string) {
	c.Helper()
	response, err := http.ReadResponse(c.Reader, nil)
	require.NoError(c, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(c, err)
	return response, string(body)
}

// get is a request of one path and what comes of it.
func (c *client) get(path string) (status int, body string) {
	c.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
	response, body := c.answer()
	return response.StatusCode, body
}

func (c *client) ended() {
	c.Helper()
	_, err := c.Reader.ReadByte()
	require.Equal(c, io.EOF, err)
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

// swoole_http_server_coro/handle, error_404, bug_no_handle: paths have handlers, and without one for the rest that is 404.
// swoole_http_server_coro/keepalive: it is one connection all the time.
func TestPaths(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/test/", say("test"))
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %d", r.RemoteAddr, httpserve.Conn(r).ID())
	})
	onEachCarrier(t, mux, nil, func(t *testing.T, s *serving) {
		c := s.dial(t)
		_, who := c.get("/who")
		require.Contains(t, who, c.LocalAddr().String()+" ")
		for _, x := range []struct {
			path   string
			status int
			body   string
		}{{"/test/index/", 200, "test"}, {"/tester", 404, "404 page not found\n"}, {"/", 404, "404 page not found\n"}, {"/who", 200, who}} {
			status, body := c.get(x.path)
			require.Equal(t, x.status, status, x.path)
			require.Equal(t, x.body, body)
		}
		require.EqualValues(t, 1, s.Stats().Accepted)
	})
	mux.Handle("/", say("the rest"))
	onEachCarrier(t, mux, nil, func(t *testing.T, s *serving) {
		_, body := s.dial(t).get("/anything")
		require.Equal(t, "the rest", body)
	})
}

// swoole_http_server_coro/bad_request, error_413, slow_client, pipeline: what is no request never comes to a handler, what is too
// large is refused, and what comes byte by byte or all at once is served in order.
func TestRequests(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		w.Write(body)
	})
	post := func(body string) string {
		return fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	onEachCarrier(t, mux, nil, func(t *testing.T, s *serving) {
		c := s.dial(t)
		for _, b := range post("slow") {
			c.send(string(b))
		}
		_, body := c.answer()
		require.Equal(t, "slow", body)
		c.send(post("one") + post("two") + post("three"))
		for _, want := range []string{"one", "two", "three"} {
			_, body := c.answer()
			require.Equal(t, want, body)
		}
		large := s.dial(t)
		go large.Conn.Write([]byte(post(strings.Repeat("x", 128<<10))))
		response, _ := large.answer()
		require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
		bad := s.dial(t)
		bad.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n")
		response, _ = bad.answer()
		require.Equal(t, http.StatusBadRequest, response.StatusCode)
		require.NoError(t, c.Conn.Close())
		eventually(t, func() bool { return s.Stats().Active == 0 }, "net/http has done with what it has refused")
	})
}

// A handler of connections looks at the first bytes, and makes it HTTP or something else. What
// it has looked at is part of the request.
func TestTwoProtocolsOnOnePort(t *testing.T) {
	onEachCarrier(t, say("over HTTP"), func(s *serving) {
		web := httpserve.Handler(s.http)
		s.Handler = func(c *coserver.Conn) error {
			first, err := c.Peek(4)
			if err != nil {
				return err
			}
			if string(first) == "GET " {
				return web(c)
			}
			line, err := c.ReadLine(100)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c, "got %s\n", line)
			return err
		}
	}, func(t *testing.T, s *serving) {
		plain := s.dial(t)
		plain.send("PING\n")
		line, err := plain.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "got PING\n", line)
		plain.ended()
		c := s.dial(t)
		c.send("GE")
		c.send("T / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
		for range 2 {
			_, body := c.answer()
			require.Equal(t, "over HTTP", body)
		}
		_, body := c.get("/again")
		require.Equal(t, "over HTTP", body)
	})
}

// swoole_http_server_coro/create_response, create_response_2: a handler may also read requests and write answers itself, with what
// net/http has for that, and a usual client is content.
func TestHTTPByHand(t *testing.T) {
	onEachCarrier(t, nil, func(s *serving) {
		s.Handler = func(c *coserver.Conn) error {
			for reader := bufio.NewReader(c); ; {
				request, err := http.ReadRequest(reader)
				if err != nil {
					return err
				}
				body := "path " + request.URL.Path
				response := &http.Response{ProtoMajor: 1, ProtoMinor: 1, StatusCode: http.StatusOK, ContentLength: int64(len(body)),
					Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader(body))}
				if err := response.Write(c); err != nil {
					return err
				}
			}
		}
	}, func(t *testing.T, s *serving) {
		transport := new(http.Transport)
		defer transport.CloseIdleConnections()
		for _, path := range []string{"/one", "/two"} {
			response, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://" + s.addr + path)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, "path "+path, string(body))
		}
	})
}

// swoole_http_server_coro/graceful_shutdown: a request that is under way is answered, an idle connection is ended, and a new client is
// refused. (Reading for the end of the client while the handler works is no waiting for another request.)
func TestShutdown(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/", say("quick"))
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		io.WriteString(w, "slow")
	})
	onEachCarrier(t, mux, nil, func(t *testing.T, s *serving) {
		idle, busy, fresh := s.dial(t), s.dial(t), s.dial(t)
		_, body := idle.get("/")
		require.Equal(t, "quick", body)
		busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
		receive(t, arrived)
		eventually(t, func() bool { return s.Stats().Active == 3 }, "all are there")
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(context.Background()) }()
		idle.ended()
		fresh.ended()
		_, err := net.Dial("tcp", s.addr)
		require.Error(t, err)
		require.Empty(t, down)
		release <- struct{}{}
		_, body = busy.answer()
		require.Equal(t, "slow", body)
		busy.ended()
		require.NoError(t, receive(t, down))
	})
}

// A request that comes while the server shuts down, on a connection that is busy with another, is answered and is the last.
func TestRequestDuringShutdown(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	onEachCarrier(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		io.WriteString(w, r.URL.Path)
	}), nil, func(t *testing.T, s *serving) {
		c := s.dial(t)
		c.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
		receive(t, arrived)
		begun := make(chan struct{})
		s.RegisterOnShutdown(func() { close(begun) })
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(context.Background()) }()
		receive(t, begun)
		release <- struct{}{}
		response, body := c.answer()
		require.Equal(t, "/1", body)
		require.False(t, response.Close)
		receive(t, arrived)
		release <- struct{}{}
		response, body = c.answer()
		require.Equal(t, "/2", body)
		require.True(t, response.Close)
		c.ended()
		require.NoError(t, receive(t, down))
	})
}

// Whoever ends the http.Server ends its connections, and later ones are told so by the error of the handler.
func TestHTTPServerEnds(t *testing.T) {
	errs := make(chan error, 1)
	onEachCarrier(t, say("hello"), func(s *serving) {
		s.OnError = func(_ *coserver.Conn, err error) { errs <- err }
	}, func(t *testing.T, s *serving) {
		c := s.dial(t)
		_, body := c.get("/")
		require.Equal(t, "hello", body)
		require.NoError(t, s.http.Shutdown(t.Context()))
		c.ended()
		s.dial(t).ended()
		require.ErrorIs(t, receive(t, errs), http.ErrServerClosed)
		eventually(t, func() bool { return s.Stats().Active == 0 }, "no connection is left")
	})
}

// A handler that hijacks has the Conn itself, with what has come along with the request; the connection lasts until it is closed, and
// is one that waits for something new to a server that shuts down.
func TestHijack(t *testing.T) {
	hijacked := make(chan *coserver.Conn, 1)
	onEachCarrier(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, both, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(both, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		both.Flush()
		hijacked <- c.(*coserver.Conn)
		io.Copy(c, both)
	}), nil, func(t *testing.T, s *serving) {
		c := s.dial(t)
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nsent along")
		response, err := http.ReadResponse(c.Reader, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
		receive(t, hijacked)
		for _, text := range []string{"sent along", "and", "then more"} {
			if text != "sent along" {
				c.send(text)
			}
			back := make([]byte, len(text))
			_, err := io.ReadFull(c.Reader, back)
			require.NoError(t, err)
			require.Equal(t, text, string(back))
		}
		require.NoError(t, s.Shutdown(t.Context()))
		c.ended()
	})
}

// A client that goes while its request is worked on cancels it, and its connection is over.
func TestClientLeaves(t *testing.T) {
	arrived, cancelled := make(chan struct{}), make(chan error, 1)
	onEachCarrier(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		cancelled <- r.Context().Err()
	}), nil, func(t *testing.T, s *serving) {
		c := s.dial(t)
		c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		receive(t, arrived)
		require.NoError(t, c.Conn.Close())
		require.ErrorIs(t, receive(t, cancelled), context.Canceled)
		eventually(t, func() bool { return s.Stats().Active == 0 }, "no connection is left")
	})
}

// A request may take longer than connections may be idle, and an idle connection is ended in time.
func TestIdleTimeout(t *testing.T) {
	const limit = 50 * time.Millisecond
	onEachCarrier(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(4 * limit):
			io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	}), func(s *serving) { s.IdleTimeout = limit }, func(t *testing.T, s *serving) {
		c := s.dial(t)
		_, body := c.get("/")
		require.Equal(t, "done", body)
		c.ended()
		require.EqualValues(t, 1, s.Stats().TimedOut.Idle)
	})
}

// TLS is the coserver.Server's: a request knows of it, over HTTP/1 and HTTP/2.
func TestTLS(t *testing.T) {
	certificate, roots := newCertificate(t)
	onEachCarrier(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s, %q, %s", r.Proto, r.TLS.NegotiatedProtocol, r.TLS.ServerName)
	}), func(s *serving) {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
		s.http.Protocols = new(http.Protocols)
		s.http.Protocols.SetHTTP1(true)
		s.http.Protocols.SetUnencryptedHTTP2(true)
	}, func(t *testing.T, s *serving) {
		for _, second := range []bool{false, true} {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "strand.test"}, ForceAttemptHTTP2: second}
			response, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + s.addr)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			if second {
				require.Equal(t, `HTTP/2.0, "h2", strand.test`, string(body))
			} else {
				require.Equal(t, `HTTP/1.1, "", strand.test`, string(body))
			}
			transport.CloseIdleConnections()
		}
	})
}

func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"strand.test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// What was set in the http.Server is called still.
func TestHooksAreKept(t *testing.T) {
	type key struct{}
	states := make(chan http.ConnState, 10)
	onEachCarrier(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Context().Value(key{}))
	}), func(s *serving) {
		s.http.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, key{}, "kept") }
		s.http.ConnState = func(_ net.Conn, state http.ConnState) { states <- state }
	}, func(t *testing.T, s *serving) {
		c := s.dial(t)
		_, body := c.get("/")
		require.Equal(t, "kept", body)
		require.NoError(t, c.Conn.Close())
		for _, want := range []http.ConnState{http.StateNew, http.StateActive, http.StateIdle, http.StateClosed} {
			require.Equal(t, want, receive(t, states))
		}
	})
}

func TestConnOfAnotherRequest(t *testing.T) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	require.NoError(t, err)
	require.Nil(t, httpserve.Conn(r))
}
