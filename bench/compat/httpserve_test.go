package compat_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
	"github.com/strand-net/strand/coserver/httpserve"
	"github.com/strand-net/strand/poller/pollertest/leak"
)

// serveUpgrades runs handler for each WebSocket on a connection of a sequential server, which has looked at its first byte before. What
// handler returns comes out of the channel.
func serveUpgrades(t *testing.T, handler func(ctx context.Context, c *websocket.Conn) error) (server *coserver.Server, addr string, ended <-chan error) {
	t.Helper()
	leak.Check(t)
	errs := make(chan error, 10)
	web := httpserve.Handler(&http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			errs <- err
			return
		}
		defer c.CloseNow()
		errs <- handler(r.Context(), c)
	})})
	server = &coserver.Server{Logger: slog.New(slog.DiscardHandler), Handler: func(c *coserver.Conn) error {
		if _, err := c.Peek(1); err != nil {
			return err
		}
		return web(c)
	}}
	ln, err := server.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, receive(t, served), coserver.ErrServerClosed)
	})
	return server, ln.Addr().String(), errs
}

func dialUpgrade(t *testing.T, addr string, options *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	options.HTTPClient = &http.Client{Transport: transport}
	c, _, err := websocket.Dial(t.Context(), "ws://"+addr, options)
	require.NoError(t, err)
	t.Cleanup(func() { c.CloseNow() })
	return c
}

func TestUpgradeEcho(t *testing.T) {
	_, addr, ended := serveUpgrades(t, echoWebSocket)
	c := dialUpgrade(t, addr, new(websocket.DialOptions))
	for _, size := range []int{0, 125, 126, 30000} { // what is longer, the library refuses unless told otherwise
		sent := strings.Repeat("m", size)
		require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte(sent)))
		_, got, err := c.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, sent, string(got))
	}
	require.NoError(t, c.Close(websocket.StatusNormalClosure, ""))
	require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(receive(t, ended)))
}

// swoole_http_server_coro/websocket_mixed: a frame that comes in one segment with the request is the first message.
func TestUpgradeWithAFrame(t *testing.T) {
	_, addr, ended := serveUpgrades(t, echoWebSocket)
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+
		"\x81\x85\x00\x00\x00\x00hello") // text, masked by zeros (RFC 6455, 5.2)
	require.NoError(t, err)
	reader := bufio.NewReader(c)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", response.Header.Get("Sec-WebSocket-Accept")) // RFC 6455, 1.3
	frame := make([]byte, 7)
	_, err = io.ReadFull(reader, frame)
	require.NoError(t, err)
	require.Equal(t, "\x81\x05hello", string(frame))
	require.NoError(t, c.Close())
	require.Error(t, receive(t, ended))
}

// swoole_http_server_coro/websocket_close, disconnect: the client sees the end, with its code and reason, when the server closes, though
// the handler goes on for as long as it likes.
func TestUpgradeClosedByTheServer(t *testing.T) {
	release := make(chan struct{})
	_, addr, ended := serveUpgrades(t, func(ctx context.Context, c *websocket.Conn) error {
		if _, _, err := c.Read(ctx); err != nil {
			return err
		}
		err := c.Close(4000, "that was all")
		<-release
		return err
	})
	c := dialUpgrade(t, addr, new(websocket.DialOptions))
	require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte("end it")))
	_, _, err := c.Read(t.Context())
	var closed websocket.CloseError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, websocket.CloseError{Code: 4000, Reason: "that was all"}, closed)
	close(release)
	require.NoError(t, receive(t, ended))
}

// swoole_http_server_coro/websocket_ping_pong, open_frame: a ping is seen by who wants to see it, and answered; a close arrives with its
// code and reason.
func TestUpgradePing(t *testing.T) {
	_, addr, ended := serveUpgrades(t, echoWebSocket)
	pongs := make(chan string, 1)
	c := dialUpgrade(t, addr, &websocket.DialOptions{OnPongReceived: func(_ context.Context, payload []byte) { pongs <- string(payload) }})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	read := make(chan error, 1)
	go func() {
		_, _, err := c.Read(ctx) // a pong is found by who reads
		read <- err
	}()
	require.NoError(t, c.Ping(t.Context()))
	require.NotEmpty(t, receive(t, pongs))
	go c.Close(websocket.StatusGoingAway, "gone")
	var closed websocket.CloseError
	require.True(t, errors.As(receive(t, ended), &closed))
	require.Equal(t, websocket.CloseError{Code: websocket.StatusGoingAway, Reason: "gone"}, closed)
	require.Error(t, receive(t, read))
}

// A WebSocket that waits for a message ends when the sequential server shuts down, which then has nothing left.
func TestUpgradeAndShutdown(t *testing.T) {
	server, addr, ended := serveUpgrades(t, echoWebSocket)
	c := dialUpgrade(t, addr, new(websocket.DialOptions))
	require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, _, err := c.Read(t.Context())
	require.NoError(t, err)
	require.NoError(t, server.Shutdown(t.Context()))
	_, _, err = c.Read(t.Context())
	require.Error(t, err)
	require.Error(t, receive(t, ended))
}
