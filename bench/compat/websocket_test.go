package compat_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// largeMessage is the size of a message that no buffer on its way holds.
const largeMessage = 8 << 20

// serveWebSocket runs handler for each WebSocket. What it returns comes out of the channel.
func serveWebSocket(t *testing.T, s side, handler func(ctx context.Context, c *websocket.Conn) error) <-chan error {
	t.Helper()
	ended := make(chan error, 100)
	serveHTTP(t, s, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			ended <- err
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(2 * largeMessage)
		ended <- handler(r.Context(), c)
	})})
	return ended
}

func dialWebSocket(t *testing.T, s side, options *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	options.HTTPClient = s.client(t, nil)
	options.HTTPClient.Timeout = 0 // it would end the connection
	c, response, err := websocket.Dial(t.Context(), "ws://"+s.addr(), options)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(2 * largeMessage)
	return c
}

func echoWebSocket(ctx context.Context, c *websocket.Conn) error {
	for {
		kind, message, err := c.Read(ctx)
		if err != nil {
			return err
		}
		if err := c.Write(ctx, kind, message); err != nil {
			return err
		}
	}
}

func TestWebSocketEcho(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		ended := serveWebSocket(t, s, echoWebSocket)
		c := dialWebSocket(t, s, new(websocket.DialOptions))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for i, size := range []int{0, 1, 125, 126, 4095, 4096, 65535, 65536, 1 << 20, largeMessage} {
			kind := []websocket.MessageType{websocket.MessageText, websocket.MessageBinary}[i%2]
			sent := message(0, size)
			if kind == websocket.MessageText {
				sent = []byte(strings.Repeat("é", size)[:size/2*2])
			}
			wrote := make(chan error, 1)
			go func() { wrote <- c.Write(ctx, kind, sent) }()
			gotKind, got, err := c.Read(ctx)
			require.NoError(t, err)
			require.NoError(t, receive(t, wrote))
			require.Equal(t, kind, gotKind)
			require.True(t, string(sent) == string(got), "%d bytes, %d came back", len(sent), len(got))
		}
		require.NoError(t, c.Close(websocket.StatusNormalClosure, "enough"))
		require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(receive(t, ended)))
	})
}

// Messages are sent by many goroutines of both sides while others are read.
func TestWebSocketConcurrentWriters(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		const writers, each = 10, 50
		ended := serveWebSocket(t, s, func(ctx context.Context, c *websocket.Conn) error {
			for range writers * each {
				kind, message, err := c.Read(ctx)
				if err != nil {
					return err
				}
				go c.Write(ctx, kind, message)
			}
			_, _, err := c.Read(ctx)
			return err
		})
		c := dialWebSocket(t, s, &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover})
		want := map[string]bool{}
		for i := range writers {
			for j := range each {
				want[fmt.Sprint(i, " ", j)] = true
			}
		}
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			together(t, writers, func(i int) error {
				for j := range each {
					if err := c.Write(t.Context(), websocket.MessageText, fmt.Append(nil, i, " ", j)); err != nil {
						return err
					}
				}
				return nil
			})
		}()
		for range writers * each {
			_, got, err := c.Read(t.Context())
			require.NoError(t, err)
			require.True(t, want[string(got)], "%q", got)
			delete(want, string(got))
		}
		receive(t, wrote)
		require.NoError(t, c.Close(websocket.StatusNormalClosure, ""))
		require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(receive(t, ended)))
	})
}

// Each side pings the other.
func TestWebSocketPing(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		const pings = 20
		ended := serveWebSocket(t, s, func(ctx context.Context, c *websocket.Conn) error {
			ctx = c.CloseRead(ctx)
			for range pings {
				if err := c.Ping(ctx); err != nil {
					return err
				}
			}
			if err := c.Write(ctx, websocket.MessageText, []byte("pinged")); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
		heard := 0
		c := dialWebSocket(t, s, &websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool {
			heard++
			return true
		}})
		_, message, err := c.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, "pinged", string(message))
		require.Equal(t, pings, heard)
		ctx := c.CloseRead(t.Context()) // somebody must read the answers
		for range pings {
			require.NoError(t, c.Ping(ctx))
		}
		require.NoError(t, c.Close(websocket.StatusNormalClosure, ""))
		require.NoError(t, receive(t, ended))
	})
}

// The reason for which a side closes comes to the other.
func TestWebSocketCloseCodes(t *testing.T) {
	codes := []websocket.StatusCode{websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusPolicyViolation, 4000}
	onEachSubject(t, func(t *testing.T, s side) {
		next := make(chan websocket.StatusCode, 1)
		ended := serveWebSocket(t, s, func(ctx context.Context, c *websocket.Conn) error {
			if code := <-next; code != 0 {
				return c.Close(code, fmt.Sprint("server ", int(code)))
			}
			_, _, err := c.Read(ctx)
			return err
		})
		for _, code := range codes {
			c := dialWebSocket(t, s, new(websocket.DialOptions))
			next <- code
			_, _, err := c.Read(t.Context())
			requireClosed(t, err, code, fmt.Sprint("server ", int(code)))
			require.NoError(t, receive(t, ended))

			c = dialWebSocket(t, s, new(websocket.DialOptions))
			next <- 0
			require.NoError(t, c.Close(code, fmt.Sprint("client ", int(code))))
			requireClosed(t, receive(t, ended), code, fmt.Sprint("client ", int(code)))
		}
	})
}

func requireClosed(t *testing.T, err error, code websocket.StatusCode, reason string) {
	t.Helper()
	var closed websocket.CloseError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, websocket.CloseError{Code: code, Reason: reason}, closed)
}

// A client that is gone without a word ends the handler.
func TestWebSocketBrokenOff(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		ended := serveWebSocket(t, s, echoWebSocket)
		c := dialWebSocket(t, s, new(websocket.DialOptions))
		requireEcho(t, c) // from then on the connection is the handler's alone
		require.NoError(t, c.CloseNow())
		require.ErrorIs(t, receive(t, ended), io.EOF)
	})
}

// A read that takes too long ends the connection, for both sides.
func TestWebSocketReadTimeout(t *testing.T) {
	onEachSubject(t, func(t *testing.T, s side) {
		ended := serveWebSocket(t, s, func(ctx context.Context, c *websocket.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			return echoWebSocket(ctx, c)
		})
		c := dialWebSocket(t, s, new(websocket.DialOptions))
		requireEcho(t, c)
		_, _, err := c.Read(t.Context())
		require.ErrorIs(t, err, io.EOF)
		require.ErrorIs(t, receive(t, ended), context.DeadlineExceeded)
	})
}

func requireEcho(t *testing.T, c *websocket.Conn) {
	t.Helper()
	require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, got, err := c.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
}
