package coserver_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver"
)

// subject is a way to come by a connection of the engine, and package net's way to the same.
type subject struct {
	name string
	base opener
	open opener
}

// subjects are what the scripts run on. Whatever makes connections is one more line.
var subjects = []subject{
	{"handler inline", accepted(net.Listen), handled(coserver.Inline)},
	{"handler channel", accepted(net.Listen), handled(coserver.Channel)},
	{"accepted", accepted(net.Listen), accepted(strandListen)},
	{"dialled", dialled(net.Dial), dialled(coserver.Dial)},
}

// networks are what every script runs over, unless it says otherwise.
var networks = []string{"tcp", "tcp6", "unix"}

// opener prepares for connections over network; each call of what it returns makes one.
type opener func(t *testing.T, network string) func() *connection

// connection is one by its two ends. The peer's end is always of package net.
type connection struct {
	subject, peer net.Conn

	do  func(call func()) // runs a call on the goroutine that the subject's end belongs to, and waits for it
	end func()            // lets that goroutine end
}

// stop closes both ends.
func (p *connection) stop() {
	p.peer.Close()
	p.subject.Close()
	p.end()
}

func strandListen(network, address string) (net.Listener, error) {
	return coserver.Listen(network, address)
}

// accepted gives connections that a listener has accepted. They belong to nobody in particular.
func accepted(listen func(network, address string) (net.Listener, error)) opener {
	return func(t *testing.T, network string) func() *connection {
		ln, err := listen(network, address(t, network))
		require.NoError(t, err)
		t.Cleanup(func() { ln.Close() })
		return func() *connection {
			peer, err := net.Dial(network, ln.Addr().String())
			require.NoError(t, err)
			c, err := ln.Accept()
			require.NoError(t, err)
			return &connection{subject: c, peer: peer, do: func(call func()) { call() }, end: func() {}}
		}
	}
}

// dialled gives connections to a listener of package net. They belong to nobody in particular.
func dialled(dial func(network, address string) (net.Conn, error)) opener {
	return func(t *testing.T, network string) func() *connection {
		ln, err := net.Listen(network, address(t, network))
		require.NoError(t, err)
		t.Cleanup(func() { ln.Close() })
		return func() *connection {
			c, err := dial(network, ln.Addr().String())
			require.NoError(t, err)
			peer, err := ln.Accept()
			require.NoError(t, err)
			return &connection{subject: c, peer: peer, do: func(call func()) { call() }, end: func() {}}
		}
	}
}

// handled gives connections that belong to their handlers. A handler is told what to call through a second connection of its
// engine: it waits there as it would anywhere, and holds up no loop.
func handled(carrier coserver.Carrier) opener {
	return func(t *testing.T, network string) func() *connection {
		engine := newEngine(t, coserver.EngineConfig{})
		controls, err := engine.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { controls.Close() })
		type order struct {
			control net.Conn
			calls   chan func()
		}
		orders := make(chan order, 1)
		conns := make(chan *coserver.Conn, 1)
		addr := start(t, &coserver.Server{Engine: engine, Carrier: carrier, Handler: func(c *coserver.Conn) error {
			o := <-orders // there since before the connection was made
			defer o.control.Close()
			conns <- c
			for one := make([]byte, 1); ; {
				if _, err := o.control.Read(one); err != nil {
					return nil
				}
				(<-o.calls)()
			}
		}}, network)
		return func() *connection {
			teller, err := net.Dial("tcp", controls.Addr().String())
			require.NoError(t, err)
			control, err := controls.Accept()
			require.NoError(t, err)
			calls := make(chan func(), 1)
			orders <- order{control, calls}
			peer, err := net.Dial(network, addr.String())
			require.NoError(t, err)
			p := &connection{subject: receive(t, conns), peer: peer, end: func() { teller.Close() }}
			p.do = func(call func()) {
				done := make(chan struct{})
				calls <- func() {
					defer close(done)
					call()
				}
				if _, err := teller.Write([]byte{0}); err != nil {
					t.Error(err)
				}
				<-done
			}
			return p
		}
	}
}
