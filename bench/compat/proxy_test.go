package compat_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// onEachProxy runs test with a side at which a reverse proxy listens, whose connections to the backend are the subject's too.
func onEachProxy(t *testing.T, backend http.Handler, test func(t *testing.T, s side, backend *httptest.Server)) {
	onEachSubject(t, func(t *testing.T, s side) {
		b := httptest.NewUnstartedServer(backend)
		b.Config.ErrorLog = log.New(io.Discard, "", 0)
		b.Start()
		t.Cleanup(b.Close)
		to, err := url.Parse(b.URL)
		require.NoError(t, err)
		transport := &http.Transport{DialContext: s.dial, MaxIdleConnsPerHost: 100}
		t.Cleanup(transport.CloseIdleConnections)
		serveHTTP(t, s, &http.Server{Handler: &httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
			Transport:     transport,
			FlushInterval: -1,
			ErrorLog:      log.New(io.Discard, "", 0),
		}})
		test(t, s, b)
	})
}

func TestProxyRequests(t *testing.T) {
	onEachProxy(t, testMux(), func(t *testing.T, s side, _ *httptest.Server) {
		client := s.client(t, nil)
		together(t, 20, func(i int) error {
			for j := range 20 {
				path, sent := fmt.Sprintf("/path/%d/%d", i, j), strings.Repeat("x", i*j*50)
				response, err := client.Get("http://" + s.addr() + path)
				if got, err := answer(response, err, http.StatusOK); err != nil || got != path {
					return fmt.Errorf("%s: %q, %v", path, got, err)
				}
				// Not to /echo: the proxy drops what is unread of a body when the answer begins, on either subject.
				response, err = client.Post("http://"+s.addr()+"/up", "text/plain", strings.NewReader(sent))
				want, _ := digest(strings.NewReader(sent))
				if got, err := answer(response, err, http.StatusOK); err != nil || got != want {
					return fmt.Errorf("got %s, not %s, %v", got, want, err)
				}
			}
			return nil
		})
	})
}

func TestProxyLargeBodies(t *testing.T) {
	onEachProxy(t, testMux(), func(t *testing.T, s side, _ *httptest.Server) {
		expectBodies(t, s.client(t, nil), "http://"+s.addr(), 20<<20)
	})
}

// What the client does to the proxy the proxy does to the backend, and the other way round.
func TestProxyAborts(t *testing.T) {
	ended := make(chan error, 1)
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/abort" {
			io.WriteString(w, "begun")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		io.Copy(w, endless{})
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	onEachProxy(t, backend, func(t *testing.T, s side, b *httptest.Server) {
		client := s.client(t, nil)
		response, err := client.Get("http://" + s.addr() + "/endless")
		require.NoError(t, err)
		_, err = io.ReadFull(response.Body, make([]byte, 1<<20))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.ErrorIs(t, receive(t, ended), context.Canceled)

		response, err = client.Get("http://" + s.addr() + "/abort")
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, response.Body.Close())
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Equal(t, "begun", string(body))

		b.Close()
		response, err = client.Get("http://" + s.addr() + "/late")
		_, err = answer(response, err, http.StatusBadGateway)
		require.NoError(t, err)
	})
}

// A connection that changes its protocol goes through the proxy in both directions.
func TestProxyWebSocket(t *testing.T) {
	ended := make(chan error, 1)
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the host is the proxy's
		if err == nil {
			err = echoWebSocket(r.Context(), c)
			c.CloseNow()
		}
		ended <- err
	})
	onEachProxy(t, backend, func(t *testing.T, s side, _ *httptest.Server) {
		c := dialWebSocket(t, s, new(websocket.DialOptions))
		for range 100 {
			requireEcho(t, c)
		}
		require.NoError(t, c.Close(websocket.StatusGoingAway, "enough"))
		requireClosed(t, receive(t, ended), websocket.StatusGoingAway, "enough")
	})
}
