// Package server holds the demo servers that strand serve runs and strand bench compares: the same few protocols on
// each engine. It is the only part of bench that knows the engines.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/strand-net/strand/coserver"
)

// Names of the engines.
const (
	EngineNet      = "net"
	EngineCoserver = "coserver"
	EngineLoop     = "loop"
)

// Names of the protocols.
const (
	ProtoEcho = "echo" // every byte comes back
	ProtoLine = "line" // every line comes back as soon as its newline has arrived, one Write for each
	// ProtoLength is messages with 4 bytes, big endian, before each that say how many follow: each comes back. Not with engine loop.
	ProtoLength = "length"
	ProtoHTTP   = "http" // net/http: GET /, POST /echo and GET /bytes?n=N; not with engine loop

	// ProtoBlock is echo with handlers that block before they answer; not with engine loop.
	ProtoBlock = "block"

	// What strand load has workloads for. ProtoSink takes everything, and says at the end how much it was, but for engine loop.
	ProtoSink = "sink"
	ProtoPush = "push" // stamped messages, as the connection's first line asks for them; not with engine loop
	// ProtoBroadcast sends each message, with its length before it as in ProtoLength, on to every connection, or to those of its room if it
	// has begun by entering one with load.RoomOrder; not with engine loop.
	ProtoBroadcast = "broadcast"
)

// Names of the carriers of engine coserver.
const (
	CarrierAuto    = "auto"
	CarrierInline  = "inline"
	CarrierChannel = "channel"
)

// MaxLine is the longest line, with its newline, that protocol line takes on every engine, in bytes. One that is longer
// than an engine's own buffer ends its connection.
const MaxLine = 4096

// Options says what to serve and where.
type Options struct {
	Engine  string      // one of Engines
	Proto   string      // one of Protos
	Addr    string      // HOST:PORT; port 0 takes a free one
	Loops   int         // number of event loops, 0 for the engine's default; engine net has none
	Carrier string      // who runs the handlers of engine coserver; empty means auto
	TLS     *tls.Config // nil means none; engine loop has none
	OverNet bool        // engine coserver or loop runs over package net, as where the operating system offers nothing better
	Block   Block       // for protocol block alone

	// TakeOverAfter is how long a handler of engine coserver may keep its loop, which then goes on without it. 0 means for ever.
	TakeOverAfter time.Duration

	// Listener is what to serve, instead of binding Addr. It needs a descriptor, as a *net.TCPListener has one, and belongs to
	// the Server from Listen on, also if that fails.
	Listener net.Listener

	// LagInterval is how often engine coserver measures how late its loops are. 0 means never.
	LagInterval time.Duration
}

// Server is a listening server. All methods are safe from any goroutine.
type Server interface {
	// Addr is where it listens, with the real port.
	Addr() net.Addr
	// Stats is what there is to know of it.
	Stats() Stats
	// Serve accepts and serves until Shutdown or Close, and then returns nil. It may be called once.
	Serve() error
	// Shutdown stops accepting and waits until every connection has ended; engine coserver and protocol http end those
	// that are idle.
	// When ctx is done first, it closes those that are left and returns the error of ctx.
	Shutdown(ctx context.Context) error
	// Retire stops accepting, but leaves alone what has been accepted: it waits until every connection has ended by itself. HTTP
	// says with each answer that it is the last. When ctx is done first, it returns the error of ctx, and Shutdown or Close
	// ends those that are left. It is for a server whose listener another process has too: no client is lost by it.
	Retire(ctx context.Context) error
	// Close stops accepting and closes every connection.
	Close() error
}

// Stats are what coserver counts. What a server does not have of it is nil: engine net and engine loop have neither, and protocol http,
// whose server is that of net/http, has an engine alone.
type Stats struct {
	Engine *coserver.Stats       `json:",omitempty"`
	Server *coserver.ServerStats `json:",omitempty"`
}

// engines are the engines by name.
var engines = map[string]func(Options) (Server, error){
	EngineNet:      listenNet,
	EngineCoserver: listenCoserver,
	EngineLoop:     listenLoop,
}

// Engines returns the names of the engines, net first: it is what the others are compared with.
func Engines() []string { return []string{EngineNet, EngineCoserver, EngineLoop} }

// Protos returns the names of the protocols.
func Protos() []string {
	return []string{ProtoEcho, ProtoLine, ProtoLength, ProtoHTTP, ProtoBlock, ProtoSink, ProtoPush, ProtoBroadcast, ProtoUDPEcho}
}

// Listen validates o and binds. Connections are served once Serve runs.
func Listen(o Options) (Server, error) {
	if err := o.Validate(); err != nil {
		o.closeListener()
		return nil, err
	}
	if o.Proto == ProtoHTTP {
		return listenHTTP(o)
	}
	if o.Proto == ProtoUDPEcho {
		return listenUDP(o)
	}
	return engines[o.Engine](o)
}

// Validate reports the first field that cannot be served.
func (o Options) Validate() error {
	_, known := engines[o.Engine]
	switch {
	case !known:
		return fmt.Errorf("engine: unknown engine %q (there are: %s, %s, %s)", o.Engine, EngineNet, EngineCoserver, EngineLoop)
	case !slices.Contains(Protos(), o.Proto):
		return fmt.Errorf("proto: unknown protocol %q (there are: %s)", o.Proto, strings.Join(Protos(), ", "))
	case slices.Contains([]string{ProtoHTTP, ProtoLength, ProtoPush, ProtoBroadcast, ProtoUDPEcho}, o.Proto) && o.Engine == EngineLoop:
		return fmt.Errorf("proto: engine %s does not speak %s", o.Engine, o.Proto)
	case o.Proto == ProtoBlock && o.Engine == EngineLoop:
		return fmt.Errorf("proto: engine %s does not speak %s: its callbacks must not block", o.Engine, o.Proto)
	case o.Proto != ProtoBlock && o.Block != Block{}:
		return fmt.Errorf("block: the handlers of protocol %s do not block", o.Proto)
	case o.TLS != nil && o.Engine == EngineLoop:
		return fmt.Errorf("tls: engine %s has none", o.Engine)
	case o.TLS != nil && o.Proto == ProtoUDPEcho:
		return errors.New("tls: it is for connections, and UDP has none")
	case o.Listener != nil && o.Proto == ProtoUDPEcho:
		return fmt.Errorf("listener: protocol %s binds its own sockets", o.Proto)
	case o.Loops < 0:
		return fmt.Errorf("loops: %d is negative", o.Loops)
	case o.Loops > 0 && o.Engine == EngineNet:
		return errors.New("loops: engine net has no event loops")
	case o.OverNet && o.Engine == EngineNet:
		return errors.New("over-net: engine net is nothing else")
	case o.TakeOverAfter < 0:
		return fmt.Errorf("take-over-after: %v is negative", o.TakeOverAfter)
	case o.TakeOverAfter > 0 && o.Engine != EngineCoserver:
		return fmt.Errorf("take-over-after: engine %s takes no loops over", o.Engine)
	}
	if o.Proto == ProtoBlock {
		if err := o.Block.validate(); err != nil {
			return err
		}
	}
	switch o.Carrier {
	case "", CarrierAuto:
	case CarrierInline, CarrierChannel:
		if o.Engine != EngineCoserver {
			return fmt.Errorf("carrier: engine %s has no carriers", o.Engine)
		}
		if o.Proto == ProtoHTTP {
			return errors.New("carrier: net/http runs its handlers itself")
		}
	default:
		return fmt.Errorf("carrier: unknown carrier %q (there are: %s, %s, %s)", o.Carrier, CarrierAuto, CarrierInline, CarrierChannel)
	}
	if o.Listener != nil {
		return nil
	}
	if _, _, err := net.SplitHostPort(o.Addr); err != nil {
		return fmt.Errorf("addr: %w", err)
	}
	return nil
}

// listen binds what o says with package net, or takes what o has.
func (o Options) listen() (net.Listener, error) {
	if o.Listener != nil {
		return o.Listener, nil
	}
	return net.Listen("tcp", o.Addr)
}

func (o Options) closeListener() {
	if o.Listener != nil {
		o.Listener.Close()
	}
}
