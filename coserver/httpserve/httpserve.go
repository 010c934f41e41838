// Package httpserve serves HTTP, by package net/http, on connections of a coserver.Server: on all of them, or on those whose first
// bytes say so. It is a package of its own so that who embeds coserver gets no HTTP with it.
//
// A server that knows nothing but HTTP needs none of this: http.Server.Serve on coserver.Listen does, too. What comes in addition
// is what a coserver.Server has: limits, Observer, SetHandler, and several protocols on one port.
package httpserve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/strand-net/strand/coserver"
)

// Handler returns a handler of connections that serves HTTP on each by server. It may be the Handler of a coserver.Server, or be
// called by that: also when some bytes have been read by Peek, and are unread still. It returns when the connection is closed:
// by net/http, or, if a handler of HTTP has hijacked it, by whoever has it then, to whom it is a *coserver.Conn. It fails with
// http.ErrServerClosed if server has been shut down.
//
// The server is Handler's from then on, but for Shutdown and Close, which end the connections too; it must not be given to Handler
// twice, or be changed. Its timeouts are those of HTTP and should be set; ReadTimeout of the coserver.Server is of no use beside them,
// and IdleTimeout is for connections on which no request is under way. TLS is the coserver.Server's: a request has the state of it. For
// HTTP/2 over TLS, NextProtos of its TLSConfig needs "h2", and the server's Protocols needs UnencryptedHTTP2: the TLS is not net/http's
// own.
//
// When the coserver.Server shuts down, connections on which no request is under way are ended; a request that is under way is
// finished first, and one that begins in the meantime is answered with Connection: close.
func Handler(server *http.Server) func(*coserver.Conn) error {
	state, connContext, handler := server.ConnState, server.ConnContext, server.Handler
	if handler == nil {
		handler = http.DefaultServeMux
	}
	server.ConnState = func(c net.Conn, now http.ConnState) {
		if c, ok := c.(*coserver.Conn); ok {
			c.SetBusy(now == http.StateActive)
		}
		if state != nil {
			state(c, now)
		}
	}
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if connContext != nil {
			ctx = connContext(ctx, c)
		}
		return context.WithValue(ctx, connKey{}, c)
	}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := Conn(r); c != nil {
			if r.TLS == nil {
				r.TLS = c.TLS()
			}
			if r.ProtoMajor == 1 && c.ServerContext().Err() != nil {
				w.Header().Set("Connection", "close")
			}
		}
		handler.ServeHTTP(w, r)
	})
	return func(c *coserver.Conn) error {
		one := &oneConn{conn: c}
		err := server.Serve(one) // which returns at once: the rest is done by goroutines of net/http
		if !one.taken.Load() {
			return err
		}
		c.Wait()
		return nil
	}
}

type connKey struct{}

// Conn returns the connection that r has come on, for its ID or its values, say, or nil if it is none of Handler's. What has been read of
// it and what has not is net/http's business.
func Conn(r *http.Request) *coserver.Conn {
	c, _ := r.Context().Value(connKey{}).(*coserver.Conn)
	return c
}

// oneConn is a listener that has one connection to give.
type oneConn struct {
	conn  *coserver.Conn
	taken atomic.Bool
}

var errNoMore = errors.New("httpserve: there was one connection")

func (l *oneConn) Accept() (net.Conn, error) {
	if l.taken.Swap(true) {
		return nil, errNoMore
	}
	return l.conn, nil
}

// Close leaves the connection alone, which outlasts the listener.
func (l *oneConn) Close() error { return nil }

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }
