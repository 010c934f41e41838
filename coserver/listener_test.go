package coserver_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

var _ net.Listener = (*coserver.Listener)(nil)

func TestListenAndAccept(t *testing.T) {
	for _, network := range []string{"tcp", "tcp6", "unix"} {
		t.Run(network, func(t *testing.T) {
			leak.Check(t)
			ln, err := coserver.Listen(network, address(t, network))
			require.NoError(t, err)
			client := dial(t, ln.Addr())
			c, err := ln.Accept()
			require.NoError(t, err)
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
			exchange(t, client, "accepted")
			require.NoError(t, ln.Close())
			require.ErrorIs(t, ln.Close(), net.ErrClosed)
			_, err = ln.Accept()
			require.ErrorIs(t, err, net.ErrClosed)
			exchange(t, client, "goes on after the listener")
			client.Close()
		})
	}
}

// faults.md N5: Close ends waiting calls of Accept, and those that nobody accepted.
func TestListenerCloseWithParkedAccepts(t *testing.T) {
	leak.Check(t)
	ln, err := coserver.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	results := make(chan error, 5)
	for range cap(results) {
		go func() {
			_, err := ln.Accept()
			results <- err
		}()
	}
	runtime.Gosched()
	require.NoError(t, ln.Close())
	for range cap(results) {
		require.ErrorIs(t, receive(t, results), net.ErrClosed)
	}
	again, err := coserver.Listen("tcp", ln.Addr().String())
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

// A server that accepts slowly leaves clients in the kernel's backlog, and loses none.
func TestMoreConnectionsThanAreHeld(t *testing.T) {
	leak.Check(t)
	ln, err := coserver.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	const count = 500
	first := dial(t, ln.Addr())
	c, err := ln.Accept()
	require.NoError(t, err)
	c.Close()
	first.Close()
	clients := make([]net.Conn, count)
	for i := range clients {
		clients[i] = dial(t, ln.Addr())
		_, err := clients[i].Write([]byte("x"))
		require.NoError(t, err)
	}
	for range count {
		c, err := ln.Accept()
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.NoError(t, err)
		c.Close()
	}
	require.NoError(t, ln.Close())
}

func TestEngineCloseEndsListeners(t *testing.T) {
	leak.Check(t)
	engine, err := coserver.NewEngine(coserver.EngineConfig{})
	require.NoError(t, err)
	ln, err := engine.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	client := dial(t, ln.Addr())
	_, err = ln.Accept()
	require.NoError(t, err)
	waiting := make(chan error, 1)
	go func() {
		_, err := ln.Accept()
		waiting <- err
	}()
	require.NoError(t, engine.Close())
	require.ErrorIs(t, receive(t, waiting), net.ErrClosed)
	expectEnd(t, client)
}

func TestServersListenerHasNothingToAccept(t *testing.T) {
	s := &coserver.Server{Handler: echoNext}
	ln, err := s.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer s.Close()
	_, err = ln.Accept()
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

// net/http runs on a Listener unchanged: keep-alive, large bodies both ways, a handler that is aborted, graceful shutdown.
func TestNetHTTP(t *testing.T) {
	leak.Check(t)
	ln, err := coserver.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	aborted := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	mux.HandleFunc("/addr", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) })
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(aborted)
	})
	server := &http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	transport := &http.Transport{}
	client := &http.Client{Transport: transport, Timeout: patience}
	url := "http://" + ln.Addr().String()

	get := func(path string) string {
		response, err := client.Get(url + path)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(body)
	}
	addr := get("/addr")
	for range 20 {
		require.Equal(t, addr, get("/addr"), "the connection is kept")
	}
	body := make([]byte, 20<<20)
	rand.Read(body)
	response, err := client.Post(url+"/echo", "application/octet-stream", bytes.NewReader(body))
	require.NoError(t, err)
	back, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	response.Body.Close()
	require.True(t, bytes.Equal(body, back))

	var many sync.WaitGroup
	for range 20 {
		many.Go(func() {
			for range 20 {
				response, err := client.Post(url+"/echo", "text/plain", strings.NewReader("hello"))
				if !noError(t, err) {
					return
				}
				answer, err := io.ReadAll(response.Body)
				response.Body.Close()
				if !noError(t, err) || string(answer) != "hello" {
					t.Errorf("got %q", answer)
				}
			}
		})
	}
	many.Wait()

	raw := dial(t, ln.Addr())
	_, err = io.WriteString(raw, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	time.AfterFunc(10*time.Millisecond, func() { raw.Close() })
	receive(t, aborted)

	transport.CloseIdleConnections()
	require.NoError(t, server.Shutdown(t.Context()))
	require.ErrorIs(t, receive(t, served), http.ErrServerClosed)
}
