package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/alecthomas/kong"

	"github.com/strand-net/strand/bench/server"
	"github.com/strand-net/strand/coserver/upgrade"
)

type serveCommand struct {
	Engine  string        `default:"coserver" help:"Engine to serve with: coserver, loop or net." placeholder:"NAME"`
	Proto   string        `default:"echo" help:"Protocol to speak: echo, line, length (messages after their length in 4 bytes), http (net/http) or block (see --block), or what strand load has workloads for: sink, push, broadcast; or udp-echo, which is datagrams. Engine loop has echo, line and sink." placeholder:"NAME"`
	Addr    string        `default:"127.0.0.1:7000" help:"Address to listen on; port 0 takes a free one. If a service manager passes just one socket, that one is served instead." placeholder:"HOST:PORT"`
	Loops   int           `default:"0" help:"Number of event loops; 0 means one for each core." placeholder:"N"`
	Carrier string        `default:"auto" help:"Who runs the handlers of engine coserver: auto, inline or channel." placeholder:"NAME"`
	TLSCert string        `name:"tls-cert" help:"Serve TLS with the certificate in this PEM file; not with engine loop." placeholder:"FILE"`
	TLSKey  string        `name:"tls-key" help:"The key of the certificate." placeholder:"FILE"`
	Block   string        `default:"sleep" help:"How the handlers of protocol block do so before they answer: sleep, mutex (wait for a lock), cpu (compute) or park (coserver.Sleep; with engine net, sleep)." placeholder:"NAME"`
	For     time.Duration `default:"1ms" help:"How long they block for each request."`
	Share   server.Share  `default:"100%" help:"Share of the connections that block: 1% is every hundredth. Up to four decimals." placeholder:"PERCENT"`
	Procs   int           `default:"1" help:"Number of processes that serve the address; with more than one, this one watches over them." placeholder:"N"`
	Drain   time.Duration `default:"5s" help:"How long connections may take to end after SIGINT or SIGTERM. A second signal ends them at once. After SIGHUP or SIGUSR2 a new process serves new connections; the others are left alone for as long, and then told to end."`

	Metrics string `help:"Tell of the server by HTTP on this address: /metrics for Prometheus, /debug/vars and /debug/pprof/. Whoever can connect there can see and burden the process." placeholder:"HOST:PORT"`

	TakeOverAfter time.Duration `default:"1ms" help:"How long a handler of engine coserver may keep its loop, which then goes on without it; 0 means for ever."`

	// A server that strand bench has started must not outlive it, however it ends.
	UntilEOF bool `name:"until-eof" hidden:"" help:"End when standard input ends."`
}

func (c *serveCommand) Run(ctx *kong.Context) error {
	options, err := c.options(ctx)
	if err != nil {
		return usageError{err}
	}
	u, err := upgrade.New(upgrade.Options{})
	if err != nil {
		return usageError{err}
	}
	defer u.Stop()
	told, err := listenMetrics(u, c.Metrics) // first: this socket is known by its address, and the other one may be by being the only one
	if err != nil {
		return usageError{err}
	}
	var listener net.Listener
	if c.Proto != server.ProtoUDPEcho { // which binds for itself
		listener, err = c.listen(u)
	}
	if err != nil {
		told.close()
		return usageError{err}
	}
	if c.Procs > 1 && !u.IsWorker() {
		return c.supervise(u, listener)
	}
	options.Listener = listener
	srv, err := server.Listen(options)
	if err != nil {
		told.close()
		return usageError{err}
	}
	return errors.Join(c.serve(u, srv, told), told.close()) // last: a drain can be watched
}

// options checks all that can be checked before anything is bound.
func (c *serveCommand) options(ctx *kong.Context) (server.Options, error) {
	o := server.Options{Engine: c.Engine, Proto: c.Proto, Addr: c.Addr, Loops: c.Loops, Carrier: c.Carrier}
	if c.Drain < 0 {
		return o, fmt.Errorf("drain: %v is negative", c.Drain)
	}
	if c.Procs < 1 {
		return o, fmt.Errorf("procs: %d is less than 1", c.Procs)
	}
	if c.Procs > 1 && c.Metrics != "" {
		return o, errors.New("metrics: each process counts for itself; not with --procs")
	}
	if c.Procs > 1 && c.Proto == server.ProtoUDPEcho {
		return o, fmt.Errorf("procs: not with protocol %s: processes do not share its sockets", c.Proto)
	}
	var err error
	if o.TLS, err = c.tlsConfig(); err != nil {
		return o, err
	}
	if c.Proto == server.ProtoBlock {
		o.Block = server.Block{Kind: c.Block, For: c.For, Share: c.Share}
	}
	if c.Engine == server.EngineCoserver {
		if c.Metrics != "" {
			o.LagInterval = lagInterval
		}
		o.TakeOverAfter = c.TakeOverAfter
	}
	if err := o.Validate(); err != nil {
		return o, err
	}
	// These have defaults that mean nothing elsewhere; whoever sets them there expects something that does not come.
	for _, element := range ctx.Path {
		if element.Flag == nil {
			continue
		}
		switch name := element.Flag.Name; name {
		case "block", "for", "share":
			if c.Proto != server.ProtoBlock {
				return o, fmt.Errorf("%s: the handlers of protocol %s do not block", name, c.Proto)
			}
		case "take-over-after":
			if c.Engine != server.EngineCoserver {
				return o, fmt.Errorf("%s: engine %s takes no loops over", name, c.Engine)
			}
		}
	}
	return o, nil
}

// listen binds the address, or takes the socket that was inherited for it. Whoever passes just one socket means that one,
// whatever it is bound to: a service manager, and then each process that takes over.
func (c *serveCommand) listen(u *upgrade.Upgrader) (net.Listener, error) {
	passed := u.Inherited()
	if len(passed) == 1 {
		return u.Listen(passed[0].Addr.Network(), passed[0].Addr.String())
	}
	listener, err := u.Listen("tcp", c.Addr)
	if len(passed) == 0 || len(u.Inherited()) < len(passed) {
		return listener, err
	}
	if err == nil {
		listener.Close()
	}
	return nil, fmt.Errorf("addr: %s is none of the %d sockets that were passed", c.Addr, len(passed))
}

// tlsConfig returns nil if TLS is not asked for.
func (c *serveCommand) tlsConfig() (*tls.Config, error) {
	if c.TLSCert == "" && c.TLSKey == "" {
		return nil, nil
	}
	if c.TLSCert == "" || c.TLSKey == "" {
		return nil, errors.New("tls: --tls-cert and --tls-key go together")
	}
	certificate, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}}, nil
}
